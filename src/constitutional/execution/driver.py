"""What a process elsewhere takes over from the driver, so that it computes the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from constitutional.errors import EngineError
from constitutional.runs.manifest import versions


@dataclass(frozen=True)
class Driver:
    """The process that a run was started in.

    ``threads`` is how many torch computes with on a CPU, on which float rounding depends;
    ``folder`` is where relative paths start from.
    """

    folder: Path
    threads: int
    versions: Mapping[str, str]

    @classmethod
    def here(cls) -> Self:
        """This process."""
        import torch

        return cls(Path.cwd(), torch.get_num_threads(), versions())

    def imitate(self) -> None:
        """Compute here as there. Raises EngineError where the libraries are of other versions."""
        import torch

        here = versions()
        if wrong := [f"{name} {v}" for name, v in here.items() if self.versions.get(name) != v]:
            there = ", ".join(f"{name} {v}" for name, v in self.versions.items())
            raise EngineError(
                f"a machine of the cluster has {', '.join(wrong)}, and the run was started with "
                f"{there}: install the same versions everywhere, or records would differ"
            )
        torch.set_num_threads(self.threads)
        if self.folder.is_dir():
            os.chdir(self.folder)
