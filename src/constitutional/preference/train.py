"""Training of a preference model on comparisons (Bai et al. 2022, section 4.1).

It is the training of :mod:`constitutional.training`, as the finetuning is; what is ours are the
pairs and their loss. Comparisons of both goals are mixed, and the defaults are the paper's where it
gives them: one epoch, no re-weighting, soft targets as they are. A first training on ranked answers
(preference model pretraining, PMP) has settings of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from torch.utils.data import Dataset

from constitutional.adapters import (
    Kept,
    base_fingerprint,
    keep_adapters,
    kept_adapters,
    merged,
    quantize_of,
    with_adapters,
)
from constitutional.engines.base import Quantize, Style
from constitutional.errors import InputError, ModelError
from constitutional.packing import Batching
from constitutional.preference.combined import Response
from constitutional.preference.loss import soft_preference_loss
from constitutional.preference.model import PreferenceModel, read_card
from constitutional.preference.ranked import binarised
from constitutional.preference.reading import LossByExample
from constitutional.preference.settings import PreferenceConfig, PretrainingConfig
from constitutional.runs.progress import Progress
from constitutional.runs.records import Comparison
from constitutional.runs.seeds import derive_seed
from constitutional.training import (
    loading_device,
    losses,
    tell_left_out,
    train,
    trained,
)
from constitutional.training_checks import check_pairs
from constitutional.training_settings import LoraSettings

REPORT = "preference_training.json"

#: Comparisons whose texts are in memory beside their ids.
_AT_ONCE = 1024


@dataclass(frozen=True)
class TrainingReport:
    """What a training did. ``losses`` are (step, mean loss of the steps since the last).

    ``comparisons`` were trained on, and so many of each goal; those without a label and those with
    a text that is too long were left out. ``mean`` and ``deviation`` are of the raw scores of
    ``scored`` held-out responses, and of several processes the main one alone has them.
    """

    comparisons: int
    goals: dict[str, int]
    unlabelled: int
    too_long: int
    too_long_tokens: int
    steps: int
    losses: tuple[tuple[int, float], ...]
    mean: float | None = None
    deviation: float | None = None
    scored: int = 0


@dataclass(frozen=True)
class Pair:
    """A comparison as ids; ``prob_a`` is the target, ``weight`` how much it counts."""

    a: list[int]
    b: list[int]
    prob_a: float
    weight: float = 1.0


@dataclass
class Pairs(Dataset[dict[str, Any]]):
    """Tokenised comparisons as the Trainer reads them, and what was left out."""

    pairs: list[Pair] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    goals: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    #: The tokens of the comparisons that were left out for their length.
    too_long: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return asdict(self.pairs[index])

    def name(self, index: int) -> str:
        """The comparison's id."""
        return f"comparison {self.ids[index]}"


@dataclass(frozen=True)
class PairBatches:
    """Collates n pairs: 2n rows, the two of a pair one after the other; labels and weights (n,)."""

    batching: Batching

    def __call__(self, pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch. The targets are its "labels", by which the Trainer counts examples."""
        return {
            "rows": self.batching.rows([ids for pair in pairs for ids in (pair["a"], pair["b"])]),
            "labels": torch.tensor([pair["prob_a"] for pair in pairs], dtype=torch.float32),
            "weights": torch.tensor([pair["weight"] for pair in pairs], dtype=torch.float32),
        }


class PairTrainer(LossByExample):
    """The Trainer with the weighted loss of pairs."""

    def of_scores(self, scores: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """The loss of each pair; ``scores`` are of the a and the b of each in turn."""
        score_a, score_b = scores.view(-1, 2).unbind(1)
        weights: torch.Tensor = inputs["weights"]
        return weights * soft_preference_loss(score_a, score_b, inputs["labels"])


def train_preference_model(
    model: str | Path,
    comparisons: Sequence[Comparison],
    *,
    held_out: Sequence[Comparison],
    style: Style,
    config: PreferenceConfig,
    work: Path,
    seed: int,
    progress: Progress,
    title: str = "Preference model",
    device: str = "auto",
) -> TrainingReport:
    """Train a preference model from ``model``; leaves ``work / "result"``.

    ``model`` is a causal LM, or the result of :func:`pretrain_preference_model`.

    The responses of ``held_out`` give the stored mean and deviation; their labels are not read. A
    call that was killed goes on from its last complete checkpoint in ``work`` and, on a CPU, ends
    with the same bytes. Raises InputError when no comparison is left to train on, or no text to
    take the mean of.
    """
    run = _Run(style, work, seed, progress, title, device)
    begun = run.begin(model, config.lora)
    responses = _held_out_tokens(begun.model, held_out, config.max_length)
    after, report = _train(begun, tokenise(begun.model, comparisons, config), config, run)
    if after is None:
        return report
    scores = after.scores_of_tokens(responses)
    moments: dict[str, Any] = {
        "mean": fmean(scores),
        "deviation": pstdev(scores),
        "scored": len(scores),
    }
    after.card = after.card.model_copy(update=moments)
    report = replace(report, **moments)
    _save(after, report, work / "result")
    return report


def pretrain_preference_model(
    model: str | Path,
    comparisons: Sequence[Comparison],
    *,
    style: Style,
    config: PretrainingConfig,
    work: Path,
    seed: int,
    progress: Progress,
    device: str = "auto",
) -> TrainingReport:
    """The training before, on pairs of ranked answers; leaves ``work / "result"``.

    The result has no score mean: it is where preference models begin, and none yet.
    """
    given = binarised(comparisons) if config.binarise else comparisons
    settings = PreferenceConfig(**config.model_dump(exclude={"binarise"}))
    title = "Preference model pretraining"
    run = _Run(style, work, derive_seed(seed, "pmp"), progress, title, device)
    begun = run.begin(model, settings.lora)
    after, report = _train(begun, tokenise(begun.model, given, settings), settings, run)
    if after is not None:
        _save(after, report, work / "result")
    return report


def tokenise(
    model: PreferenceModel, comparisons: Sequence[Comparison], config: PreferenceConfig
) -> Pairs:
    """The comparisons as ids; those without a label or with too long a text are only counted.

    Weights are divided by their mean over what is kept, so that they move no learning rate.
    """
    data = Pairs()
    remaining = iter(comparisons)
    while some := list(islice(remaining, _AT_ONCE)):
        labelled = [c for c in some if c.prob_a is not None]
        data.unlabelled += len(some) - len(labelled)
        rows = iter(model.tokens_of([Response(c.prompt, x) for c in labelled for x in (c.a, c.b)]))
        for comparison, a, b in zip(labelled, rows, rows, strict=True):
            if max(len(a), len(b)) > config.max_length:
                data.too_long.append(len(a) + len(b))
                continue
            assert comparison.prob_a is not None
            data.pairs.append(Pair(a, b, comparison.prob_a, config.weight(comparison.goal)))
            data.ids.append(comparison.id)
            data.goals[comparison.goal] += 1
    if not data.pairs:
        raise InputError(
            f"there is nothing to train on: of {len(comparisons)} comparisons {data.unlabelled} "
            f"have no label and {len(data.too_long)} are longer than max_length {config.max_length}"
        )
    if config.goal_weights:
        mean = fmean(pair.weight for pair in data.pairs)
        data.pairs = [Pair(p.a, p.b, p.prob_a, p.weight / mean) for p in data.pairs]
    return data


@dataclass(frozen=True)
class _Run:
    """What both trainings share."""

    style: Style
    work: Path
    seed: int
    progress: Progress
    title: str
    device: str

    def begin(self, model: str | Path, lora: LoraSettings | None) -> _Begun:
        """A preference model from the causal LM, or the one that is there.

        One that was trained with adapters goes on with them on their own base, where this training
        has adapters too: a second pair on the merged model would belong on a base of its own.
        """
        kept = kept_adapters(model) if lora else None
        base = model if kept is None else _base(model, kept, lora)
        seed, place = derive_seed(self.seed, "preference head"), loading_device(self.device)

        def load(dtype: str, quantize: Quantize | None) -> PreferenceModel:
            return PreferenceModel.begin(
                base,
                style=self.style,
                seed=seed,
                device=place,
                dtype=dtype,
                quantize=quantize,
            )

        begun = load("float32", quantize_of(lora))
        if kept is not None and begun.card != read_card(Path(model)).before_training():
            raise ModelError(
                f"{model} does not read texts as a preference model of style {self.style} that "
                f"begins from {base} does: train it anew"
            )
        return _Begun(begun, base, kept, lambda: load("stored", None).network)

    def network(self, begun: _Begun, lora: LoraSettings | None) -> Any:
        """What is trained: the network of ``begun``, or adapters on it."""
        model = begun.model
        if lora is None:
            return model.network
        what = "a preference model"
        return with_adapters(
            model.network, lora, self.seed, what=what, head=model.head, go_on=begun.kept
        )


@dataclass(frozen=True)
class _Begun:
    """A preference model before its training, and its base, which ``plain`` loads once more."""

    model: PreferenceModel
    base: str | Path
    kept: Kept | None
    plain: Callable[[], Any]


def _base(model: str | Path, kept: Kept, lora: LoraSettings | None) -> str:
    """The base of the adapters beside ``model``, after a look that it is that still."""
    if kept.settings != lora:
        raise InputError(
            f"{model} was trained with other adapters ({kept.settings!r}) than are to go on "
            f"({lora!r}): give both trainings the same 'lora'"
        )
    base = kept.base
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise ModelError(f"{kept.folder} holds adapters of {base}, which is not there: put it back")
    if base_fingerprint(base) != kept.fingerprint:
        raise ModelError(f"{kept.folder} holds adapters of {base}, which has changed: put it back")
    return base


def _train(
    begun: _Begun, data: Pairs, config: PreferenceConfig, run: _Run
) -> tuple[PreferenceModel | None, TrainingReport]:
    """The trained model, in the main process alone, and the report."""
    model, lora = begun.model, config.lora
    cut, among = data.too_long, len(data) + len(data.too_long)
    tell_left_out(run.progress, run.title, len(cut), among, sum(cut), config.max_length)
    told = ((pair.a == pair.b, pair.prob_a) for pair in data.pairs)
    check_pairs(told, data.ids, run.progress, run.title)
    head, batching = model.head, Batching.of(model.network)
    network = run.network(begun, lora)
    with batching.attention(network):
        trainer = train(
            network,
            data,
            PairBatches(batching),
            settings=config,
            work=run.work,
            seed=run.seed,
            progress=run.progress,
            title=run.title,
            device=run.device,
            kind=partial(PairTrainer, head),
        )
    report = TrainingReport(
        comparisons=len(data),
        goals=dict(sorted(data.goals.items())),
        unlabelled=data.unlabelled,
        too_long=len(data.too_long),
        too_long_tokens=sum(data.too_long),
        steps=trainer.state.global_step,
        losses=losses(trainer),
    )
    network = trained(trainer, lambda: run.network(run.begin(model.name, lora), lora))
    if network is None:
        return None, report
    if lora:
        mark = begun.kept.fingerprint if begun.kept else base_fingerprint(begun.base)
        result = run.work / "result"
        keep_adapters(network, result, base=begun.base, fingerprint=mark, settings=lora)
        network = merged(network, lora, begun.plain)
    return PreferenceModel(network, model.tokenizer, model.card, model.name), report


def _held_out_tokens(
    model: PreferenceModel, held_out: Sequence[Comparison], max_length: int
) -> list[list[int]]:
    if not held_out:
        raise InputError(
            "the score mean needs held-out comparisons, and there is none: give more comparisons, "
            "or hold out a larger share of them"
        )
    rows = model.tokens_of([Response(c.prompt, text) for c in held_out for text in (c.a, c.b)])
    kept = [row for row in rows if len(row) <= max_length]
    if not kept:
        raise InputError(
            f"the score mean needs held-out responses: of {len(rows)} given {len(rows)} are longer "
            f"than max_length {max_length}"
        )
    return kept


def _save(model: PreferenceModel, report: TrainingReport, result: Path) -> None:
    result.mkdir(parents=True, exist_ok=True)
    (result / REPORT).write_text(json.dumps(asdict(report), indent=2) + "\n")
    model.save(result)
