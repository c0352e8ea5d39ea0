"""What a principle and a constitution are.

A principle is a sentence in plain language. The method asks for it in three forms: a critique
request and a revision request (paper, section 3.1) and a comparison question (section 4.1). Each
form may be written out; a form that is left out is derived from the sentence.
"""

from __future__ import annotations

import hashlib
import json
import random
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from constitutional.constitution.few_shots import FewShots
from constitutional.errors import ConstitutionFileError
from constitutional.refusal import refusal

#: ``critique``: the critique-revision stage; ``comparison``: the AI feedback stage. The paper draws
#: the two from different lists, so a principle says which it belongs to.
Use = Literal["critique", "comparison"]
ALL_USES: tuple[Use, ...] = ("critique", "comparison")

CRITIQUE_TEMPLATE = (
    "Identify specific ways in which the assistant's last response fails this principle: {text}"
)
REVISION_TEMPLATE = (
    "Please rewrite the assistant response so that it follows this principle: {text}"
)
COMPARISON_TEMPLATE = "Choose the response that better follows this principle: {text}"

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


def _fill(template: str, text: str) -> str:
    # Not str.format: the text of a principle may hold braces.
    return template.replace("{text}", text)


class Version(BaseModel):
    """What a principle said from a date on, and why it came to say so; for readers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: date
    text: str
    why: str = ""


class Principle(BaseModel):
    """One principle. ``weight`` is its share when one is drawn; ``uses`` the stages it serves.

    Texts are kept as written, to the byte; they carry no role marker and no ``Options:``, which
    the stages add.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    source: str = ""
    tags: tuple[str, ...] = ()
    weight: Weight = 1.0
    uses: tuple[Use, ...] = ALL_USES
    critique_request: str | None = None
    revision_request: str | None = None
    comparison_question: str | None = None
    #: How its text came about, oldest first. Like source and tags it shapes no prompt.
    history: tuple[Version, ...] = ()

    @field_validator("id")
    @classmethod
    def _one_word(cls, value: str) -> str:
        if value.split() != [value]:
            raise refusal(f"'id' must be one word without blanks, found {value!r}")
        return value

    @field_validator("text", "critique_request", "revision_request", "comparison_question")
    @classmethod
    def _not_blank(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise refusal("expected text, found only blanks")
        return value

    @field_validator("uses")
    @classmethod
    def _in_order(cls, value: tuple[Use, ...]) -> tuple[Use, ...]:
        if not value:
            raise refusal("'uses' must name 'critique', 'comparison' or both")
        return tuple(use for use in ALL_USES if use in value)

    @model_validator(mode="after")
    def _whole(self) -> Principle:
        halves = {
            "critique_request": self.critique_request,
            "revision_request": self.revision_request,
        }
        given = [key for key, text in halves.items() if text is not None]
        if len(given) == 1:
            (missing,) = halves.keys() - given
            raise refusal(
                f"principle {self.id!r} has a {given[0]} but no {missing}: give both or neither",
                given[0],
            )
        if given and "critique" not in self.uses:
            raise self._unused(given[0])
        if self.comparison_question is not None and "comparison" not in self.uses:
            raise self._unused("comparison_question")
        return self

    def _unused(self, key: str) -> Exception:
        return refusal(
            f"principle {self.id!r} has a {key}, but its uses are only {', '.join(self.uses)}", key
        )

    @property
    def critique(self) -> str:
        """The critique request, written out or derived."""
        return self.critique_request or _fill(CRITIQUE_TEMPLATE, self.text)

    @property
    def revision(self) -> str:
        """The revision request, written out or derived."""
        return self.revision_request or _fill(REVISION_TEMPLATE, self.text)

    @property
    def comparison(self) -> str:
        """The comparison question, written out or derived."""
        return self.comparison_question or _fill(COMPARISON_TEMPLATE, self.text)

    def only(self, use: Use) -> Principle:
        """This principle for one use, without the forms that belong to the other."""
        fields = dict(self)
        if use == "critique":
            fields |= {"comparison_question": None}
        else:
            fields |= {"critique_request": None, "revision_request": None}
        return Principle(**(fields | {"uses": (use,)}))


class Constitution(BaseModel):
    """Principles in order, with the few-shot examples that go with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    principles: tuple[Principle, ...]
    few_shots: FewShots = FewShots()

    @model_validator(mode="after")
    def _check(self) -> Constitution:
        if not self.principles:
            raise refusal("a constitution needs at least one principle", "principles")
        seen: set[str] = set()
        for index, principle in enumerate(self.principles):
            if principle.id in seen:
                raise refusal(
                    f"the id {principle.id!r} is given to two principles; ids must differ",
                    "principles",
                    index,
                    "id",
                )
            seen.add(principle.id)
        return self

    @property
    def critiquing(self) -> tuple[Principle, ...]:
        """The principles that the critique-revision stage draws from, in order."""
        return tuple(p for p in self.principles if "critique" in p.uses)

    @property
    def comparing(self) -> tuple[Principle, ...]:
        """The principles that the AI feedback stage draws from, in order."""
        return tuple(p for p in self.principles if "comparison" in p.uses)

    def draw_critique_principle(self, rng: random.Random) -> Principle:
        """One of :attr:`critiquing`, by weight; the same generator state gives the same one."""
        return self._draw(self.critiquing, rng, "critique")

    def draw_comparison_principle(self, rng: random.Random) -> Principle:
        """One of :attr:`comparing`, by weight; the same generator state gives the same one."""
        return self._draw(self.comparing, rng, "comparison")

    def _draw(self, among: tuple[Principle, ...], rng: random.Random, use: Use) -> Principle:
        if not among:
            raise ConstitutionFileError(
                f"the constitution {self.name!r} has no principle for {use}: "
                f"add {use!r} to the 'uses' of one, or name a second constitution"
            )
        return rng.choices(among, weights=[p.weight for p in among])[0]

    def with_few_shots(self, few_shots: FewShots) -> Constitution:
        """This constitution with other examples; a kind that is empty there is left as it is."""
        return Constitution(**(dict(self) | {"few_shots": few_shots.over(self.few_shots)}))

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that shapes a prompt or a draw, however the file was written.

        That is, in order, each principle's id (records refer to it), its weight and the texts of
        its uses, and the few-shot examples. Name, description, sources, tags and histories are left
        out.
        """
        body = {
            "principles": [_effect(p) for p in self.principles],
            "few_shots": self.few_shots.model_dump(mode="json", exclude={"unterminated"}),
        }
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _effect(principle: Principle) -> dict[str, Any]:
    effect: dict[str, Any] = {"id": principle.id, "weight": principle.weight}
    if "critique" in principle.uses:
        effect |= {"critique": principle.critique, "revision": principle.revision}
    if "comparison" in principle.uses:
        effect |= {"comparison": principle.comparison}
    return effect


def merge(critique: Constitution, comparison: Constitution) -> Constitution:
    """One constitution that critiques by the first and compares by the second.

    Each principle serves only the stage it came for, so both lists keep their order and weights. An
    id that both use gets ``-comparison`` appended in the second (again, until it is free).
    """
    if critique == comparison:
        return critique
    principles = [p.only("critique") for p in critique.critiquing]
    taken = {p.id for p in principles} | {p.id for p in comparison.comparing}
    first = {p.id for p in principles}
    for p in comparison.comparing:
        new = p.id
        if new in first:
            while new in taken:
                new += "-comparison"
            taken.add(new)
        principles.append(Principle(**(dict(p.only("comparison")) | {"id": new})))
    return Constitution(
        name=f"{critique.name} + {comparison.name}",
        principles=tuple(principles),
        few_shots=FewShots(
            critique_revision=critique.few_shots.critique_revision,
            unterminated=critique.few_shots.unterminated,
            comparison=comparison.few_shots.comparison,
            cot=comparison.few_shots.cot,
        ),
    )
