"""The records of a registration, and what its parts must agree on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from constitutional.errors import nearest
from constitutional.recipe.section import Section, one_or_several
from constitutional.refusal import refusal
from constitutional.studies.derived import DERIVED

#: Words that stand in the place of a study's name on the command line.
RESERVED = ("all", "evidence")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Term(NamedTuple):
    """A measure in an arm."""

    arm: str
    measure: str


class Measure(Section):
    """A number of a run: where it stands in ``metrics.json``, less a second one where there is one.

    Paths are dotted; a whole number is a place in a list. ``derived`` names one that is computed
    from the run in place of a path (:mod:`~.derived`).
    """

    path: str | None = Field(default=None, min_length=1)
    minus: str | None = Field(default=None, min_length=1)
    derived: str | None = None
    #: A share is shown in percent.
    unit: Literal["share", "number"] = "share"
    #: The arms that have it; all where it is empty.
    only: tuple[str, ...] = ()

    @field_validator("only", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("derived")
    @classmethod
    def _is_computed(cls, name: str | None) -> str | None:
        if name is not None and name not in DERIVED:
            raise refusal(f"no measure {name!r} is computed; {nearest(name, DERIVED)}")
        return name

    @model_validator(mode="after")
    def _from_somewhere(self) -> Measure:
        if (self.path is None) == (self.derived is None):
            raise refusal("a measure needs one of the keys 'path' and 'derived'")
        if self.minus is not None and self.path is None:
            raise refusal("'minus' is taken from a 'path', and there is none", "minus")
        return self


class Rule(Section):
    """What a difference of two terms, or a single term, has to be for the claim to hold.

    Of four terms it is the difference of two differences: the first less the second, less what the
    third is more than the fourth.
    """

    says: str = Field(min_length=1)
    difference: tuple[str, ...]
    above: float | None = None
    below: float | None = None
    within: float | None = Field(default=None, gt=0)

    @field_validator("difference")
    @classmethod
    def _of_one_two_or_four(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        if len(terms) not in (1, 2, 4):
            raise refusal(f"'difference' must be of one, two or four terms, found {len(terms)}")
        return terms

    @model_validator(mode="after")
    def _one_bound(self) -> Rule:
        given = [name for name in ("above", "below", "within") if getattr(self, name) is not None]
        if len(given) != 1:
            raise refusal(
                "a rule needs one of the keys 'above', 'below' and 'within', "
                f"found {' and '.join(given) or 'none'}"
            )
        return self

    @property
    def terms(self) -> tuple[Term, ...]:
        """What is compared."""
        return tuple(Term(*text.split(".", 1)) for text in self.difference)

    @property
    def bound(self) -> str:
        """Such as ``above 0``."""
        name = next(n for n in ("above", "below", "within") if getattr(self, n) is not None)
        return f"{name} {getattr(self, name):g}"


class Figure(Section):
    """What is drawn: bars by measure and arm, lines over a number that each arm has, or paths.

    A path is a line through points of two measures each, the one across and the one up, such as a
    policy takes along its training; each arm has a panel, with all paths in it.
    """

    kind: Literal["bars", "line", "paths"] = "bars"
    measures: tuple[str, ...] = ()
    x: dict[str, float] | None = None
    x_label: str = ""
    y_label: str = ""
    paths: dict[str, tuple[tuple[str, str], ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_line_has_places(self) -> Figure:
        if (self.kind == "line") != (self.x is not None):
            raise refusal("'x' (arm: number) belongs to a figure of kind line, which needs it", "x")
        return self

    @model_validator(mode="after")
    def _something_is_drawn(self) -> Figure:
        has, lacks = ("paths", "measures") if self.kind == "paths" else ("measures", "paths")
        if not getattr(self, has) or getattr(self, lacks):
            raise refusal(f"a figure of kind {self.kind} needs {has!r}, and has no {lacks!r}", has)
        return self


class Registration(Section):
    """A study as it was registered."""

    study: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    number: int = Field(ge=1)
    title: str = Field(min_length=1)
    question: str = Field(min_length=1)
    claim: str = Field(min_length=1)
    #: A recipe that ships with the package, by its name, or a file beside this one.
    base: str = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=2)
    set: dict[str, Any] = Field(default_factory=dict)
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    measures: dict[str, Measure] = Field(min_length=1)
    rules: tuple[Rule, ...] = Field(min_length=1)
    figure: Figure | None = None
    #: Seconds that one run took on one core where somebody measured it; it decides nothing.
    seconds: float | None = Field(default=None, gt=0)

    @field_validator("study")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in RESERVED:
            raise refusal(f"a study cannot be called {name!r}, which `cai study` has a meaning for")
        return name

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if twice := next((seed for seed in seeds if seeds.count(seed) > 1), None):
            raise refusal(f"'seeds' names {twice} twice")
        if any(seed < 0 for seed in seeds):
            raise refusal(f"'seeds' must be 0 or more, found {min(seeds)}")
        return seeds

    @field_validator("arms", mode="before")
    @classmethod
    def _no_changes(cls, arms: Any) -> Any:
        empty = isinstance(arms, Mapping)
        return {name: {} if c is None else c for name, c in arms.items()} if empty else arms

    @field_validator("measures", mode="before")
    @classmethod
    def _a_path_alone(cls, measures: Any) -> Any:
        if not isinstance(measures, Mapping):
            return measures
        return {name: {"path": m} if isinstance(m, str) else m for name, m in measures.items()}

    @field_validator("arms", "measures")
    @classmethod
    def _plain_names(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if not _WORD.fullmatch(name):
                raise refusal(f"{name!r} is not a name: use letters, digits, _ and -", name)
        return named

    @model_validator(mode="after")
    def _names_are_known(self) -> Registration:
        for name, measure in self.measures.items():
            for arm in measure.only:
                _known(arm, self.arms, "arm", "measures", name, "only")
        for number, rule in enumerate(self.rules):
            for place, text in enumerate(rule.difference):
                self._check_term(text, "rules", number, "difference", place)
        if self.figure is not None:
            for name in self.figure.measures:
                _known(name, self.measures, "measure", "figure", "measures")
            for way, path in self.figure.paths.items():
                for name in (name for point in path for name in point):
                    _known(name, self.measures, "measure", "figure", "paths", way)
            for arm in self.figure.x or ():
                _known(arm, self.arms, "arm", "figure", "x")
        return self

    def _check_term(self, text: str, *at: str | int) -> None:
        arm, dot, measure = text.partition(".")
        if not dot:
            raise refusal(f"expected ARM.MEASURE, found {text!r}", *at)
        _known(arm, self.arms, "arm", *at)
        _known(measure, self.measures, "measure", *at)
        if arm not in self.arms_of(measure):
            raise refusal(f"measure {measure!r} is said to be of other arms than {arm!r}", *at)

    def arms_of(self, measure: str) -> tuple[str, ...]:
        """The arms that have a measure, in the order of the file."""
        only = self.measures[measure].only
        return tuple(arm for arm in self.arms if not only or arm in only)


def _known(name: str, among: Mapping[str, Any], what: str, *at: str | int) -> None:
    if name not in among:
        raise refusal(f"there is no {what} {name!r}; {nearest(name, list(among))}", *at)
