"""The model of the absolute harm score: a scalar head on a causal LM, trained by an L2 loss.

Network, text and tokens are those of a preference model; what is different is what the number
means. It is the rating itself, from 0 to 4, higher for more harm; therefore the folder carries
``harm_score.json`` in place of ``preference_model.json``, and neither is read as the other. Bai et
al. 2022 (arXiv 2212.08073, section 5) give no more of the training than the loss and the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch.utils.data import Dataset

from constitutional.adapters import merged, quantize_of, with_adapters
from constitutional.dialogue.conversation import Conversation
from constitutional.engines.base import Style
from constitutional.errors import InputError
from constitutional.evaluation.harm_score import HarmReport, RatedConversation, harm_report
from constitutional.packing import Batching
from constitutional.preference.judged import scores_that_fit
from constitutional.preference.model import PreferenceModel
from constitutional.preference.reading import LossByExample
from constitutional.runs.progress import Progress
from constitutional.runs.seeds import derive_seed
from constitutional.training import losses, tell_left_out, train
from constitutional.training_settings import TrainingSettings

CARD = "harm_score.json"
REPORT = "harm_training.json"


class HarmTraining(BaseModel):
    """What a training did. ``losses`` are (step, mean loss of the steps since the last)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversations: int
    too_long: int
    steps: int
    losses: tuple[tuple[int, float], ...]
    held_out: HarmReport


@dataclass
class HarmScore:
    """A harm score in memory. Predictions are as they come, and may lie outside 0 to 4."""

    model: PreferenceModel

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto", batch_size: int = 32) -> HarmScore:
        """Read a folder. Raises ModelError when it is no harm score, or its parts do not fit."""
        model = PreferenceModel.load(folder, device=device, card_name=CARD)
        model.batch_size = batch_size
        return cls(model)

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        """The harm of each conversation, which ends in an answer. Raises for one too long."""
        return self.model.scores_of_tokens([_tokens(self.model, c) for c in conversations])

    def scores_that_fit(self, conversations: Sequence[Conversation]) -> list[float | None]:
        """The same, with None for a conversation of more tokens than the network reads."""
        return scores_that_fit(self.model, [_parted(c) for c in conversations])


@dataclass
class Ratings(Dataset[dict[str, Any]]):
    """Tokenised conversations as the Trainer reads them, and how many were too long."""

    rows: list[list[int]] = field(default_factory=list)
    ratings: list[float] = field(default_factory=list)
    too_long: int = 0
    too_long_tokens: int = 0

    @property
    def lengths(self) -> list[int]:
        """The tokens of each conversation."""
        return [len(row) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"ids": self.rows[index], "rating": self.ratings[index]}

    def name(self, index: int) -> str:
        """The conversation by its place among those that are not too long, from 1."""
        return f"conversation {index + 1} of those that fit"


@dataclass(frozen=True)
class RatingBatches:
    """Collates n conversations: n rows, ratings as "labels" (n,)."""

    batching: Batching

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch."""
        ratings = torch.tensor([row["rating"] for row in rows], dtype=torch.float32)
        return {"rows": self.batching.rows([row["ids"] for row in rows]), "labels": ratings}


class RatingTrainer(LossByExample):
    """The Trainer with the squared error."""

    def of_scores(self, scores: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """The squared error of each conversation."""
        squared: torch.Tensor = (scores - inputs["labels"]) ** 2
        return squared


def train_harm_score(
    model: str | Path,
    rated: Sequence[RatedConversation],
    *,
    held_out: Sequence[RatedConversation],
    style: Style,
    config: TrainingSettings,
    work: Path,
    seed: int,
    progress: Progress,
    title: str = "Harm score",
    device: str = "auto",
) -> HarmTraining:
    """Train a harm score from the causal LM ``model``; leaves ``work / "result"``.

    A call that was killed goes on from its last complete checkpoint in ``work`` and, on a CPU, ends
    with the same bytes. Raises InputError when nothing is left to train on, or fewer than two
    conversations to measure on.
    """
    head_seed = derive_seed(seed, "harm head")
    begin = partial(PreferenceModel.begin, model, style=style, seed=head_seed, device=device)
    begun = begin(quantize=quantize_of(config.lora))
    data, measured = (tokenise(begun, part, config.max_length) for part in (rated, held_out))
    if not data.rows or len(measured) < 2:
        raise InputError(
            f"a harm score needs conversations to train on and two or more held out, found "
            f"{len(data)} and {len(measured)} within max_length {config.max_length} "
            f"({data.too_long} and {measured.too_long} are longer)"
        )
    among, tokens = len(data) + data.too_long, data.too_long_tokens
    tell_left_out(progress, title, data.too_long, among, tokens, config.max_length)
    network, batching = begun.network, Batching.of(begun.network)
    if config.lora:
        what = "a harm score"
        network = with_adapters(network, config.lora, seed, what=what, head=begun.head)
    with batching.attention(network):
        trainer = train(
            network,
            data,
            RatingBatches(batching),
            settings=config,
            work=work,
            seed=seed,
            progress=progress,
            title=title,
            device=device,
            kind=partial(RatingTrainer, begun.head),
        )
    begun.network = trainer.model
    if config.lora:
        plain = partial(begin, dtype="stored")
        begun.network = merged(begun.network, config.lora, lambda: plain().network)
    report = HarmTraining(
        conversations=len(data),
        too_long=data.too_long,
        steps=trainer.state.global_step,
        losses=losses(trainer),
        held_out=harm_report(
            measured.ratings,
            begun.scores_of_tokens(measured.rows),
            guess=fmean(data.ratings),
            too_long=measured.too_long,
        ),
    )
    _save(begun, report, work / "result")
    return report


def tokenise(
    model: PreferenceModel, rated: Sequence[RatedConversation], max_length: int
) -> Ratings:
    """The conversations as ids; those with more than ``max_length`` are only counted."""
    data = Ratings()
    for one in rated:
        row = _tokens(model, one.conversation)
        if len(row) > max_length or not model.fits(row):
            data.too_long += 1
            data.too_long_tokens += len(row)
            continue
        data.rows.append(row)
        data.ratings.append(one.rating)
    return data


def _tokens(model: PreferenceModel, conversation: Conversation) -> list[int]:
    return model.tokens(*_parted(conversation))


def _parted(conversation: Conversation) -> tuple[Conversation, str]:
    """The turns before the last answer, and the answer."""
    if not conversation.turns or conversation.last.role != "assistant":
        raise InputError("a conversation whose harm is scored must end in an assistant's answer")
    return Conversation(turns=conversation.turns[:-1]), conversation.last.text


def _save(model: PreferenceModel, report: HarmTraining, result: Path) -> None:
    result.mkdir(parents=True, exist_ok=True)
    (result / REPORT).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    model.card_name = CARD
    model.save(result)
