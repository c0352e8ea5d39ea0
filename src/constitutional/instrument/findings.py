"""What a check of a constitution finds: one record for each finding."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from constitutional.evaluation.intervals import Estimate

#: ``error``: the constitution works against itself; ``warning``: likely a mistake; ``notice``: to
#: be known, and legal.
Severity = Literal["error", "warning", "notice"]
Kind = Literal[
    "half missing",
    "half derived",
    "duplicate",
    "near duplicate",
    "contradiction",
    "labels oppose",
    "not checked",
    "never used",
    "rarely tells",
    "position decides",
    "length decides",
    "kind not moved",
]


class Finding(BaseModel):
    """One finding. ``do`` says what to do; ``principles`` are ids, none where it is of all.

    ``estimate`` is the measure behind it with its interval, of ``n`` observations; None for one
    that is read from the texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    severity: Severity
    principles: tuple[str, ...]
    message: str
    do: str
    estimate: Estimate | None = None
    n: int | None = None


def in_order(findings: list[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notices; else as they were found."""
    ranks: tuple[Severity, ...] = ("error", "warning", "notice")
    return sorted(findings, key=lambda finding: ranks.index(finding.severity))
