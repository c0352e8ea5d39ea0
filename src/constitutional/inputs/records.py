"""What the stages work with, read and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from pydantic import BaseModel

from constitutional.constitution import Constitution
from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines.settings import EngineSettings
from constitutional.evaluation.harm_score import RatedConversation
from constitutional.evaluation.verdicts import Judge, Rater
from constitutional.inputs.models import Model
from constitutional.jobs.launch import Launcher
from constitutional.runs.lines import fingerprint_of
from constitutional.runs.records import Comparison


@dataclass(frozen=True)
class HumanData:
    """Human comparisons from a file, or prompts and who compares the answers to them."""

    comparisons: Sequence[Comparison] = ()
    prompts: Sequence[PromptRecord] = ()
    rater: Rater | None = None


@dataclass(frozen=True)
class RLInputs:
    """What the RL stage reads besides. ``contrast``: who answers besides SL-CAI.

    ``rater`` labels the same pairs as AI does, for an arm that asks people in its place.
    """

    comparisons: Sequence[PromptRecord]
    contrast: tuple[Model, ...]
    helpfulness: HumanData
    harmlessness: HumanData
    #: Pairs of ranked answers, for preference model pretraining.
    ranked: Sequence[Comparison]
    red_team: Sequence[PromptRecord]
    helpful: Sequence[PromptRecord]
    rater: Rater | None = None

    @property
    def prompts(self) -> Iterator[PromptRecord]:
        """All prompts, which the evaluation's should not be among."""
        human = chain(self.helpfulness.prompts, self.harmlessness.prompts)
        return chain(self.comparisons, human, self.red_team, self.helpful)

    @property
    def hashes(self) -> dict[str, str]:
        """A hash of each input."""
        return {
            "rl.comparisons": _hash(self.comparisons),
            "rl.contrast": fingerprint_of([model.fingerprint for model in self.contrast]),
            **{
                f"rl.{goal}": _hash(data.comparisons, data.prompts)
                for goal, data in (
                    ("helpfulness", self.helpfulness),
                    ("harmlessness", self.harmlessness),
                )
            },
            "rl.ranked": _hash(self.ranked),
            "rl.red_team": _hash(self.red_team),
            "rl.helpful": _hash(self.helpful),
        }


@dataclass(frozen=True)
class Inputs:
    """What the stages work with. ``notes`` are sentences that the user should read.

    ``constitution`` and ``helpful_model`` are None only where a recipe begins with demonstrations.
    Prompts and the like lie on the disk (:mod:`constitutional.spool`), however many there are.
    """

    constitution: Constitution | None
    demonstrations: Sequence[Conversation]
    red_team: Sequence[PromptRecord]
    helpful: Sequence[PromptRecord]
    evaluation: Sequence[PromptRecord]
    judge: Judge | None
    pretrained_model: Model
    helpful_model: Model | None
    rl: RLInputs | None
    #: Rated conversations for the harm score, or prompts for answers that the judge rates.
    rated: tuple[RatedConversation, ...]
    harm_prompts: Sequence[PromptRecord]
    ai_judge: Model | None
    notes: tuple[str, ...]
    #: Who criticises in place of the helpful model.
    critic_model: Model | None = None
    #: The recipe's engines by name: as a run reads them, and their settings with models found.
    named: Mapping[str, Model] = field(default_factory=dict)
    engines: Mapping[str, EngineSettings] = field(default_factory=dict)
    #: The processes that trainings run on; None for this one.
    launcher: Launcher | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """A hash of each input, for the run's manifest."""
        found = {
            "pretrained": self.pretrained_model.fingerprint,
            "prompts.red_team": _hash(self.red_team),
            "prompts.helpful": _hash(self.helpful),
            "evaluation": _hash(self.evaluation),
        }
        if self.constitution is not None:
            found["constitution"] = self.constitution.fingerprint
        if self.helpful_model is not None:
            found["helpful"] = self.helpful_model.fingerprint
        if self.demonstrations:
            found["demonstrations"] = _hash(self.demonstrations)
        if self.rated or self.harm_prompts:
            found["harm_score"] = _hash(self.rated, self.harm_prompts)
        if self.ai_judge is not None:
            found["ai_judge"] = self.ai_judge.fingerprint
        if self.critic_model is not None:
            found["critic"] = self.critic_model.fingerprint
        found |= {f"engines.{name}": model.fingerprint for name, model in self.named.items()}
        return found if self.rl is None else found | self.rl.hashes


def _hash(*records: Iterable[BaseModel]) -> str:
    digest = hashlib.sha256()
    for record in chain.from_iterable(records):
        digest.update(record.model_dump_json().encode())
    return digest.hexdigest()
