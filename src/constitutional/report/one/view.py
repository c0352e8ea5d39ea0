"""A run as the sections of its report see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from constitutional.constitution import Constitution, Principle
from constitutional.reading.run import Run
from constitutional.reading.so_far import metrics_so_far
from constitutional.report.summary import FIGURES


@dataclass(frozen=True)
class View:
    """A run, with what was measured of it read once."""

    run: Run

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """All of them, or as far as a run in progress has them."""
        return metrics_so_far(self.run)

    @cached_property
    def constitution(self) -> Constitution | None:
        """None where there is none, or where it was not kept."""
        return self.run.constitution

    @cached_property
    def principles(self) -> Mapping[str, Principle]:
        """By id; empty where the constitution is not known."""
        known = self.constitution.principles if self.constitution else ()
        return {principle.id: principle for principle in known}

    def drawn(self, name: str) -> Path | None:
        """A figure in the run's folder."""
        path = self.run.path / FIGURES / f"{name}.png"
        return path if path.is_file() else None

    @property
    def policies(self) -> Mapping[str, Any]:
        """The measures of each policy."""
        found: Mapping[str, Any] = self.metrics.get("policies", {})
        return found

    @property
    def arms(self) -> Mapping[str, Any]:
        """The measures of each arm."""
        found: Mapping[str, Any] = self.metrics.get("arms", {})
        return found
