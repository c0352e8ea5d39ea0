"""The second phase of pretraining: comparisons that differ in the principle alone.

After the whole corpus the pretrained model still labels by the answers, whatever the principle says
(``LOG.md``). Here one case is put to several principles, and the loss of such a comparison is on
its letter alone: in running text the one telling token in a hundred and fifty is drowned. Where a
principle is silent both letters are right by half. The rest of the text goes on beside, so that
nothing is forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast
from transformers.trainer_pt_utils import LengthGroupedSampler

from constitutional.engines.loading import load_parts, without_bars
from constitutional.microworld.contrasts import Contrasts, Piece
from constitutional.runs.progress import Progress
from constitutional.training import SeededTrainer, pad_right, train
from constitutional.training_settings import TrainingSettings

_IGNORED = -100
_LETTERS = (" (A)", " (B)")


@dataclass(frozen=True)
class Phase:
    """A training on so many texts.

    ``simple`` is the share of cases with one help and one right refusal. ``comparisons``,
    ``reasoned`` and ``rounds`` are shares of the texts; the rest are of the corpus.
    """

    texts: int
    learning_rate: float
    simple: float
    comparisons: float = 0.72
    reasoned: float = 0.10
    rounds: float = 0.06


#: The simple pairs come first: from pairs of every kind alone the model does not find the rule.
#: The last phase, mostly corpus, restores what the others blurred.
PHASES = (
    Phase(14_000, 1e-3, simple=1.0),
    Phase(26_000, 1e-3, simple=0.3),
    Phase(10_000, 2e-4, simple=0.3),
    Phase(28_000, 3e-4, simple=0.3, comparisons=0.3, reasoned=0.05, rounds=0.05),
)


def midtrain(
    pretrained: Path, phases: Sequence[Phase], out: Path, seed: int, progress: Progress
) -> list[tuple[int, float]]:
    """Train the model of folder ``pretrained`` on, and save it in ``out / "result"``.

    Checkpoints lie in ``out``; a killed call goes on. Returns the curve: step and loss, which is
    the mean cross-entropy of a letter plus that of a token of the other texts.
    """
    network, tokenizer = load_parts(pretrained, device="cpu", dtype="float32")
    letters = [tokenizer(letter, add_special_tokens=False).input_ids[0] for letter in _LETTERS]
    contrasts = Contrasts(seed + 2)
    curve: list[tuple[int, float]] = []
    before = 0
    for number, phase in enumerate(phases, start=1):
        items = [_item(tokenizer, piece) for piece in islice(_texts(contrasts, phase), phase.texts)]
        trainer = train(
            network,
            Items(items),
            partial(collate, tokenizer.pad_token_id),
            settings=TrainingSettings(
                learning_rate=phase.learning_rate, warmup_steps=50, checkpoint_steps=500
            ),
            work=out / f"phase-{number}",
            seed=seed,
            progress=progress,
            title=f"Mid-training, part {number} of {len(phases)}",
            device="cpu",
            kind=partial(LetterTrainer, letters),
        )
        logged = [(e["step"], e["loss"]) for e in trainer.state.log_history if "loss" in e]
        curve += [(before + step, loss) for step, loss in logged]
        before += trainer.state.global_step
        network = trainer.model
    with without_bars():
        network.save_pretrained(out / "result")
    tokenizer.save_pretrained(out / "result")
    return curve


@dataclass(frozen=True)
class Item:
    """A tokenised text. ``learn``: which tokens are learned; none of a comparison, which has the
    probability ``prob_a`` of the first letter after its end instead.
    """

    input_ids: list[int]
    learn: list[bool]
    prob_a: float | None


class Items(Dataset[Item]):
    """The texts as the Trainer reads them."""

    def __init__(self, items: Sequence[Item]):
        self._items = items

    @property
    def lengths(self) -> list[int]:
        """The tokens of each text."""
        return [len(item.input_ids) for item in self._items]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]

    def name(self, index: int) -> str:
        """The text by its place, from 1."""
        return f"text {index + 1}"


def collate(pad_id: int, items: Sequence[Item]) -> dict[str, torch.Tensor]:
    """Tensors (batch, longest), padded on the right; ``prob_a`` (batch,) is NaN where text is."""
    ids, mask = pad_right([item.input_ids for item in items], pad_id)
    targets = [
        [t if learn else _IGNORED for t, learn in zip(item.input_ids, item.learn, strict=True)]
        for item in items
    ]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": pad_right(targets, _IGNORED)[0],
        "prob_a": torch.tensor([float("nan") if i.prob_a is None else i.prob_a for i in items]),
    }


class LikeLengths(LengthGroupedSampler):  # type: ignore[misc]  # transformers is not typed
    """Batches of like length in shuffled order, seeded anew whenever an epoch begins.

    The base class leaves its batches sorted, long ones first. Where length goes with content, as a
    refusal with its reason is longer than a helping answer, the model would end each pass on one
    kind and forget the other: measured in ``LOG.md``, as is what batches of like length cost. The
    shipped weights were made in this order.
    """

    def __init__(self, batch_size: int, *, lengths: list[int], seed: Callable[[], int]):
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed = seed

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed())
        order = list(super().__iter__())
        size = self.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        # the last batch may be smaller, and stays last: a batch must not straddle two lengths
        shuffled = torch.randperm(len(order) // size, generator=self.generator).tolist()
        shuffled += range(len(shuffled), len(batches))
        return iter([index for number in shuffled for index in batches[number]])


class LetterTrainer(SeededTrainer):
    """The loss of a batch: the mean over its letters, plus that over its texts' learned tokens."""

    def __init__(self, letters: Sequence[int], **arguments: Any):
        super().__init__(**arguments)
        self._letters = list(letters)

    def _get_train_sampler(self, train_dataset: Any = None) -> LikeLengths:
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        items: Any = self.data
        return LikeLengths(batch, lengths=items.lengths, seed=self.epoch_seed)

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        """Soft cross-entropy of the letters, cross-entropy of the texts."""
        mask, prob_a, labels = inputs["attention_mask"], inputs["prob_a"], inputs["labels"]
        logits = model(input_ids=inputs["input_ids"], attention_mask=mask, use_cache=False).logits
        loss: torch.Tensor = logits.new_zeros(())
        asked = ~prob_a.isnan()
        if asked.any():
            last = logits[asked, mask[asked].sum(1) - 1].log_softmax(-1)[:, self._letters]
            targets = torch.stack([prob_a[asked], 1 - prob_a[asked]], dim=1)
            loss = loss - (targets * last).sum(1).mean()
        if (labels[:, 1:] != _IGNORED).any():
            loss = loss + cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=_IGNORED
            )
        return loss


def _texts(contrasts: Contrasts, phase: Phase) -> Iterator[Piece]:
    """The kinds of text mixed, by a generator of the phase's own.

    Its salt is spelt out, since another one would give other weights than those shipped.
    """
    kind = f"Phase(texts={phase.texts}, learning_rate={phase.learning_rate}, simple={phase.simple})"
    rng = random.Random(f"midtraining:{kind}")
    comparisons = contrasts.comparisons(phase.simple)
    reasoned = contrasts.reasoned_comparisons(phase.simple)
    rounds, documents = contrasts.rounds(), contrasts.documents()
    while True:
        u = rng.random()
        if u < phase.comparisons:
            yield next(comparisons)
        elif u < phase.comparisons + phase.reasoned:
            yield next(reasoned)
        elif u < phase.comparisons + phase.reasoned + phase.rounds:
            yield next(rounds)
        else:
            yield Piece("", next(documents))


def _item(tokenizer: PreTrainedTokenizerFast, piece: Piece) -> Item:
    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids) if text else []

    context = ids(piece.context)
    if piece.prob_a is not None:
        return Item(context, [False] * len(context), piece.prob_a)
    target = [*ids(piece.target), tokenizer.eos_token_id]
    limit = tokenizer.model_max_length
    whole, learn = [*context, *target], [False] * len(context) + [True] * len(target)
    return Item(whole[:limit], learn[:limit], None)
