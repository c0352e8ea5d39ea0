"""What differs between two constitutions, by principle; a principle is known by its id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from constitutional.constitution import Constitution, Principle

#: What of a principle reaches a model or a draw: the texts of its halves, and its weight.
Part = Literal["critique", "revision", "comparison", "weight"]
_TEXTS: tuple[Part, ...] = ("critique", "revision", "comparison")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartChange(_Record):
    """A text or the weight before and after; None where the principle has no such half."""

    part: Part
    old: str | None
    new: str | None


class PrincipleChange(_Record):
    """One principle that is not what it was; an added or a removed one lists all that it has."""

    principle: str
    kind: Literal["added", "removed", "changed"]
    parts: tuple[PartChange, ...]


class ConstitutionChange(_Record):
    """From one constitution to another. ``principles``: the removed, the changed, the added ones.

    ``moved``: principles that both have stand in another order, which alone makes other draws.
    """

    old: str
    new: str
    old_fingerprint: str
    new_fingerprint: str
    principles: tuple[PrincipleChange, ...]
    moved: bool
    few_shots: bool

    def touching(self, *parts: Part) -> frozenset[str]:
        """The ids of principles in which one of these parts differs, is new or is gone."""
        return frozenset(
            change.principle
            for change in self.principles
            if any(part.part in parts for part in change.parts)
        )


def changes(old: Constitution, new: Constitution) -> ConstitutionChange:
    """What was removed, changed and added; name, description, sources and tags are left out."""
    before = {p.id: p for p in old.principles}
    after = {p.id: p for p in new.principles}
    common = [name for name in before if name in after]
    return ConstitutionChange(
        old=old.name,
        new=new.name,
        old_fingerprint=old.fingerprint,
        new_fingerprint=new.fingerprint,
        principles=tuple(_changes(before, after)),
        moved=common != [name for name in after if name in before],
        few_shots=old.few_shots != new.few_shots,
    )


def _changes(
    before: dict[str, Principle], after: dict[str, Principle]
) -> Iterator[PrincipleChange]:
    for name, old in before.items():
        if name not in after:
            yield PrincipleChange(principle=name, kind="removed", parts=_parts(old, None))
    for name, old in before.items():
        if name in after and (parts := _parts(old, after[name])):
            yield PrincipleChange(principle=name, kind="changed", parts=parts)
    for name, new in after.items():
        if name not in before:
            yield PrincipleChange(principle=name, kind="added", parts=_parts(None, new))


def _parts(old: Principle | None, new: Principle | None) -> tuple[PartChange, ...]:
    parts: tuple[Part, ...] = (*_TEXTS, "weight")
    told = ((part, _told(old, part), _told(new, part)) for part in parts)
    return tuple(PartChange(part=part, old=a, new=b) for part, a, b in told if a != b)


def _told(principle: Principle | None, part: Part) -> str | None:
    if principle is None:
        return None
    if part == "weight":
        return f"{principle.weight:g}"
    use = "comparison" if part == "comparison" else "critique"
    text: str | None = getattr(principle, part) if use in principle.uses else None
    return text
