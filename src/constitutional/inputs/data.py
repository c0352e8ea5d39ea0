"""The data of a recipe: prompts, comparisons, demonstrations, ratings."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from constitutional.dialogue import (
    Conversation,
    PromptKind,
    PromptRecord,
    PromptSet,
    load_prompts,
)
from constitutional.errors import InputError
from constitutional.evaluation.harm_score import RatedConversation, read_rated
from constitutional.evaluation.verdicts import Rater
from constitutional.inputs.models import Model
from constitutional.inputs.records import HumanData, RLInputs
from constitutional.preference.settings import Goal
from constitutional.recipe import (
    Demonstrations,
    HarmRatings,
    HumanComparisons,
    Prompts,
    RankedAnswers,
    Reinforcement,
    resource,
)
from constitutional.runs.records import Comparison
from constitutional.runs.seeds import derive_seed
from constitutional.spool import Seen, Spooled

Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class DataReader:
    """Reads what a recipe of this ``seed`` names; ``base`` is the folder its paths start from.

    With ``skipped`` malformed prompt lines are counted and set aside in files of that folder;
    without it the first one raises PromptFileError. What the user should know gathers in ``notes``.
    """

    seed: int
    base: Path
    skipped: Path | None = None
    notes: list[str] = field(default_factory=list)

    def prompts(self, source: Prompts | None, kind: PromptKind, use: str) -> Sequence[PromptRecord]:
        """A prompt set; ``use`` is what it is called in the recipe."""
        if source is None:
            return ()
        files = source.file or (None,)
        if len(files) == 1:
            found = self._read(files[0], source, kind, use, f"skipped-{use}.jsonl")
            self._again(use, found.duplicates)
            return self._drawn(found.records, source.limit, use)
        records: Spooled[PromptRecord] = Spooled()
        conversations, ids = Seen(), Seen()
        for number, file in enumerate(files, start=1):
            found = self._read(file, source, kind, use, f"skipped-{use}-{number}.jsonl")
            again = found.duplicates
            for record in found.records:
                turns = [(turn.role, turn.text) for turn in record.conversation.turns]
                if not conversations.add(repr(turns)):
                    again += 1
                elif ids.add(record.id):
                    records.append(record)
                else:
                    raise InputError(
                        f"{use}: the id {record.id!r} is that of another prompt in another of its "
                        "files: give it its own"
                    )
            self._again(use, again)
        return self._drawn(records, source.limit, use)

    def rl(self, rl: Reinforcement, contrast: tuple[Model, ...] = ()) -> RLInputs:
        """What the RL stage reads besides models."""
        hh_rlhf = rl.harmlessness if "hh_rlhf" in rl.arms else None
        return RLInputs(
            comparisons=self.prompts(rl.comparisons, "red_team", "rl.comparisons"),
            contrast=contrast,
            helpfulness=self.human(rl.helpfulness, "helpfulness"),
            harmlessness=self.human(hh_rlhf, "harmlessness"),
            ranked=self.ranked(rl.pmp),
            red_team=self.prompts(rl.red_team, "red_team", "rl.red_team"),
            helpful=self.prompts(rl.helpful, "helpful", "rl.helpful"),
            rater=_person() if "rl_human" in rl.arms else None,
        )

    def human(self, source: HumanComparisons | None, goal: Goal) -> HumanData:
        """Human comparisons, or prompts and who compares the answers to them."""
        if source is None:
            return HumanData()
        if source.prompts is None:
            from constitutional.preference.data import read_comparisons

            form = source.renamed if source.known is None else source.known.pairs_by(goal)
            found = read_comparisons(
                self._place(source.file, source), goal=goal, seed=self.seed, form=form
            )
            self._left_out(f"rl.{goal}", found.left_out)
            return HumanData(comparisons=self._drawn(found.comparisons, source.limit, f"rl.{goal}"))
        kind: PromptKind = "helpful" if goal == "helpfulness" else "red_team"
        return HumanData(prompts=self.prompts(source.prompts, kind, f"rl.{goal}"), rater=_person())

    def ranked(self, source: RankedAnswers | None) -> Sequence[Comparison]:
        """Pairs of ranked answers."""
        if source is None:
            return ()
        from constitutional.preference.ranked import ranked_pairs, read_ranked

        ranked = read_ranked(resource(source.file, self.base))
        return Spooled(ranked_pairs(ranked, seed=self.seed))

    def demonstrations(self, source: Demonstrations | None) -> Sequence[Conversation]:
        """Conversations whose last turns are finetuned on."""
        if source is None:
            return ()
        from constitutional.supervised.demonstrations import read_demonstrations

        form = source.renamed if source.known is None else source.known.demonstrated()
        found = read_demonstrations(self._place(source.file, source), form=form)
        self._left_out("demonstrations", found.left_out)
        return found.conversations

    def rated(self, source: HarmRatings | None) -> tuple[RatedConversation, ...]:
        """Conversations with ratings of harm."""
        if source is None or source.file is None:
            return ()
        found = read_rated(resource(source.file, self.base))
        self._left_out("evaluation.harm_score", found.left_out)
        return tuple(found.rated)

    def _read(
        self, file: str | None, source: Prompts, kind: PromptKind, use: str, aside: str
    ) -> PromptSet:
        """The prompts of one file."""
        found = load_prompts(
            self._place(file, source),
            kind=kind,
            column=source.column,
            skip_bad_to=None if self.skipped is None else self.skipped / aside,
            form=source.renamed if source.known is None else source.known.prompts_of(kind),
        )
        self._left_out(use, found.left_out)
        if found.bad:
            lines = f"{found.bad} of {found.read} lines are malformed and were set aside"
            self.notes.append(f"{use}: {lines}")
        return found

    def _again(self, use: str, count: int) -> None:
        if count:
            self.notes.append(f"{use}: {count} prompts occur again and are used once")

    def _drawn(self, rows: Sequence[Drawn], limit: int | None, use: str) -> Sequence[Drawn]:
        """At most ``limit`` of the rows, in their order."""
        if limit is None or limit >= len(rows):
            return rows
        drawn = random.Random(derive_seed(self.seed, use)).sample(range(len(rows)), limit)
        return Spooled(rows[i] for i in sorted(drawn))

    def _place(self, file: str | None, source: Prompts | HumanComparisons | Demonstrations) -> str:
        """Where rows are read: the file, or the preset's data set on the hub."""
        if file is not None:
            return resource(file, self.base)
        assert source.known is not None, "the recipe has checked that there is one of the two"
        return source.known.source

    def _left_out(self, use: str, counts: Mapping[str, int]) -> None:
        """Note the rows of a file that are not used, with the reasons."""
        if counts:
            reasons = ", ".join(f"{n} ({reason})" for reason, n in sorted(counts.items()))
            self.notes.append(f"{use}: rows left out: {reasons}")


def _person() -> Rater:
    """Who labels where a recipe names no file of people's labels: the microworld's oracle."""
    from constitutional.microworld.human import Human

    return Human()
