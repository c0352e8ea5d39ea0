"""What is asked for, and the one table that answers it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from constitutional.evaluation.intervals import Estimate
from constitutional.preference.settings import PreferenceConfig

#: Keys that may change between two calls in one folder: which parts are wanted.
FREE_KEYS = ("folder", "pairs", "cot")


class Order(BaseModel):
    """All that decides the numbers: the recipe of the run's folder.

    ``folder`` has ``evals``, ``samples`` and ``prompts`` as the official repository does; ``pairs``
    is a file of hh-rlhf's form. Where either is None its parts are skipped. ``limit`` is of the
    rows of each evaluation and of the pairs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "official"
    model: str
    folder: str | None
    pairs: str | None
    style: Literal["auto", "transcript", "chat"] = "auto"
    cot: bool = True
    limit: int | None = None
    seed: int = 0
    batch_size: int = 16
    preference: PreferenceConfig = PreferenceConfig(max_length=1024)


class Line(BaseModel):
    """One figure. ``estimate`` is None where nothing could be counted, and ``note`` says why.

    ``estimate.n`` counts ``counted``: conversations or prompts, the units of resampling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: Literal["evals", "samples", "pairs"]
    of: str
    measure: str
    estimate: Estimate | None
    counted: Literal["conversations", "prompts"]
    note: str = ""


class Table(BaseModel):
    """All figures, plain counts by what they are of, and why a part was skipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    seed: int
    lines: tuple[Line, ...]
    counts: dict[str, dict[str, int | float]]
    skipped: dict[str, str]
