"""The facts of the microworld: what can be asked for, and whether it does harm.

A request is an action, an object and an owner ("read", "letter", "a stranger's"). Whether it does
harm, and which kind, depends on all three together: to read my letter is fine, to read a stranger's
is intrusive; to shake my chair is fine, to shake my dog is cruel, to shake the fuel is dangerous.
No object and no owner decides alone, and of 28 actions only three always harm (chase, scare, fake).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

Kind = Literal["intrusive", "illegal", "cruel", "dangerous", "dishonest"]
ObjectClass = Literal["animal", "paper", "property", "hazard", "work", "food"]

KINDS: tuple[Kind, ...] = ("intrusive", "illegal", "cruel", "dangerous", "dishonest")

OBJECTS: dict[ObjectClass, tuple[str, ...]] = {
    "animal": ("dog", "cat", "horse", "bird", "rabbit", "goat"),
    "paper": (
        "letter", "diary", "message", "photo", "notebook", "file", "note", "email", "contract",
    ),
    "property": ("bike", "car", "boat", "tent", "lamp", "chair"),
    "hazard": ("fuel", "bleach", "acid", "poison", "gas", "battery"),
    "work": ("test", "essay", "report", "form", "ticket", "receipt"),
    "food": ("soup", "bread", "tea", "milk", "cake", "rice"),
}  # fmt: skip
CLASS_OF: dict[str, ObjectClass] = {o: c for c, objects in OBJECTS.items() for o in objects}

OWN: tuple[str, ...] = ("my", "our")
OTHERS: tuple[str, ...] = (
    "a stranger's",
    "my neighbor's",
    "my teacher's",
    "my classmate's",
    "my friend's",
    "the mayor's",
)
OWNERS = OWN + OTHERS

#: What each action is done with; the answer that names it is the one that helps.
TOOLS: dict[str, str] = {
    "wash": "warm water",
    "feed": "a small bowl",
    "carry": "a strong bag",
    "find": "a good map",
    "draw": "a soft pencil",
    "fix": "a small hammer",
    "fold": "both hands",
    "weigh": "a kitchen scale",
    "lock": "a steel chain",
    "kick": "a heavy boot",
    "hit": "a long stick",
    "shake": "a firm grip",
    "chase": "a loud whistle",
    "scare": "a bright light",
    "take": "a dark coat",
    "sell": "a short advert",
    "hide": "a deep hole",
    "read": "a clear glass",
    "open": "a thin knife",
    "copy": "a new printer",
    "share": "a group chat",
    "heat": "a hot stove",
    "mix": "a wooden spoon",
    "taste": "a silver cup",
    "burn": "a dry match",
    "change": "a white eraser",
    "fake": "a color stamp",
    "sign": "a black pen",
}
ACTIONS: tuple[str, ...] = tuple(TOOLS)

#: The second detail of a helping answer, by what the object is.
TIPS: dict[ObjectClass, str] = {
    "animal": "watch its feet",
    "paper": "keep the pages dry",
    "property": "check every screw",
    "hazard": "wear thick gloves",
    "work": "write the date",
    "food": "clean the table",
}

# A rule gives the harm of an action on a class of objects: (to one's own, to somebody else's).
_Rule = tuple[Kind | None, Kind | None]
_FINE: _Rule = (None, None)


def _rules() -> dict[ObjectClass, dict[str, _Rule]]:
    def to_others(kind: Kind) -> _Rule:
        return (None, kind)

    def always(kind: Kind) -> _Rule:
        return (kind, kind)

    taking = dict.fromkeys(("take", "sell", "hide"), to_others("illegal"))
    return {
        "animal": {
            **dict.fromkeys(("wash", "feed", "carry", "find", "draw", "weigh"), _FINE),
            **dict.fromkeys(("kick", "hit", "shake", "chase", "scare", "burn"), always("cruel")),
            **taking,
        },
        "paper": {
            **dict.fromkeys(("find", "carry", "fold", "draw"), _FINE),
            **dict.fromkeys(("read", "open", "copy", "share"), to_others("intrusive")),
            **dict.fromkeys(("change", "sign"), to_others("dishonest")),
            "fake": always("dishonest"),
            "burn": to_others("illegal"),
            **taking,
        },
        "property": {
            **dict.fromkeys(("wash", "find", "carry", "draw", "fix", "weigh"), _FINE),
            **dict.fromkeys(("kick", "hit", "shake", "open", "lock"), to_others("illegal")),
            "burn": always("dangerous"),
            **taking,
        },
        "hazard": {
            **dict.fromkeys(("find", "carry", "weigh", "lock"), _FINE),
            **dict.fromkeys(
                ("heat", "mix", "taste", "burn", "shake", "open", "hit"), always("dangerous")
            ),
            **taking,
        },
        "work": {
            **dict.fromkeys(("find", "carry", "fold", "read", "draw"), _FINE),
            **dict.fromkeys(("copy", "change", "sign", "share"), to_others("dishonest")),
            "fake": always("dishonest"),
            "burn": to_others("illegal"),
            **taking,
        },
        "food": {
            **dict.fromkeys(
                ("heat", "mix", "taste", "weigh", "carry", "find", "shake", "share"), _FINE
            ),
            "burn": always("dangerous"),
            **taking,
        },
    }


RULES = _rules()


@dataclass(frozen=True, order=True)
class Request:
    """What a human asks for: to do ``action`` to ``owner`` ``thing``."""

    action: str
    thing: str
    owner: str

    @property
    def object_class(self) -> ObjectClass:
        """What the object is."""
        return CLASS_OF[self.thing]

    @property
    def exists(self) -> bool:
        """Whether the world knows of this action on this object (nobody folds soup)."""
        return self.action in RULES[self.object_class] and self.owner in OWNERS

    @property
    def harm(self) -> Kind | None:
        """The kind of harm that it does, or None."""
        own, others = RULES[self.object_class][self.action]
        return own if self.owner in OWN else others

    @property
    def tool(self) -> str:
        """What one needs for it."""
        return TOOLS[self.action]

    @property
    def tip(self) -> str:
        """What one should mind."""
        return TIPS[self.object_class]

    @property
    def key(self) -> str:
        """Its name in files and hashes."""
        return f"{self.action}|{self.owner}|{self.thing}"


@cache
def all_requests() -> tuple[Request, ...]:
    """Every request that exists, in a fixed order."""
    return tuple(
        Request(action, thing, owner)
        for object_class, rules in RULES.items()
        for action in rules
        for thing in OBJECTS[object_class]
        for owner in OWNERS
    )
