"""How many texts a recipe is about and how long they are: counted, or assumed where they cannot be.

Stages are built from these records alone, so that a run whose files nobody has, such as the paper's
own, is planned by the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from constitutional.planning.amounts import Amount, amount, between, largest, total

#: The texts that models write, whose lengths nobody knows before. ``answer`` is the pretrained
#: model's, ``policy`` that of any model which was trained.
Role = Literal["response", "critique", "revision", "reply", "reasoning", "answer", "policy"]

#: Without a calibration: the mean of a text's tokens as a share of the most that it may have.
ASSUMED_SHARE = between(0.1, 0.5, 1.0)
#: Texts whose shape makes them fit for training, and comparisons that get a label.
USABLE_TEXTS = between(0.7, 0.95, 1.0)
LABELLED = between(0.4, 0.75, 1.0)


class Lengths(BaseModel):
    """So many texts, their tokens together, and the tokens of the longest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: Amount
    tokens: Amount
    longest: Amount

    @classmethod
    def of(cls, counts: Iterable[int]) -> Lengths:
        """Counted ones."""
        found = list(counts)
        return cls(
            number=amount(len(found)),
            tokens=amount(sum(found)),
            longest=amount(max(found, default=0)),
        )

    @classmethod
    def about(cls, number: Amount | float, each: Amount, longest: Amount | None = None) -> Lengths:
        """``number`` of them with a mean of ``each``; the longest is four means where not given."""
        longest = longest or between(each.low, 4 * each.value, 4 * each.high)
        return cls(number=amount(number), tokens=each * number, longest=longest)

    def times(self, factor: Amount | float) -> Lengths:
        """The same texts so many times over."""
        return Lengths(
            number=self.number * factor, tokens=self.tokens * factor, longest=self.longest
        )

    def longer(self, mean: Amount, most: Amount | float) -> Lengths:
        """Each text with more behind it: ``mean`` tokens on average, ``most`` at the longest."""
        return Lengths(
            number=self.number,
            tokens=self.tokens + self.number * mean,
            longest=self.longest + most,
        )


def joined(parts: Iterable[Lengths]) -> Lengths:
    """All of them together."""
    found = list(parts)
    return Lengths(
        number=total(each.number for each in found),
        tokens=total(each.tokens for each in found),
        longest=largest(each.longest for each in found),
    )


NONE = Lengths.of(())


class Sizes(BaseModel):
    """What stages are built from. A key that is missing stands for no texts.

    ``prompts``: each prompt set by its place in the recipe, as a model reads it before it answers;
    ``rl.training`` holds those that the RL training draws. ``asked``: the parts of longer requests
    that are known before the run (few-shots, principles, conversations), all rounds together,
    without the texts that models write into them. ``texts``: whole texts that are trained on.
    ``new``: mean tokens of what each role was measured to write.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: Mapping[str, Lengths] = Field(default_factory=dict)
    asked: Mapping[str, Lengths] = Field(default_factory=dict)
    texts: Mapping[str, Lengths] = Field(default_factory=dict)
    new: Mapping[Role, Amount] = Field(default_factory=dict)

    def prompt(self, use: str) -> Lengths:
        """The prompt set of that place."""
        return self.prompts.get(use, NONE)

    def request(self, kind: str) -> Lengths:
        """The known part of these requests."""
        return self.asked.get(kind, NONE)

    def text(self, use: str) -> Lengths:
        """The whole texts of that place."""
        return self.texts.get(use, NONE)

    def written(self, role: Role, limit: int) -> Amount:
        """Mean tokens of a text of ``role`` that may have ``limit``."""
        measured = self.new.get(role)
        if measured is None and role in ("answer", "policy"):
            measured = self.new.get("response")
        each = ASSUMED_SHARE * limit if measured is None else measured
        return between(*(max(1.0, end) for end in each.at_most(limit).ends))
