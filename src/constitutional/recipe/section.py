"""What every part of a recipe has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a recipe; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def one_or_several(value: Any) -> Any:
    """A single name as a tuple of one, and a key without a value as none."""
    return () if value is None else (value,) if isinstance(value, str) else value
