"""What a whole run of the benchmarks has in common, as both sides of a comparison are told it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """``device`` and ``dtype`` as the engine's; ``random`` parameters (0: the shipped models).

    ``small`` is a run that only shows that everything runs: its figures mean nothing.
    """

    work: str
    threads: int
    device: str = "cpu"
    dtype: str = "float32"
    random: int = 0
    small: bool = False

    @property
    def folder(self) -> Path:
        """Where the sides leave their files."""
        return Path(self.work)

    def emptied(self, name: str) -> Path:
        """A folder of that name in :attr:`folder`, with nothing in it."""
        out = self.folder / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        return out

    def sized(self, whole: int, small: int) -> int:
        """``whole``, or ``small`` in a small run."""
        return small if self.small else whole

    def to_json(self) -> str:
        """For the other process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Options:
        """The inverse of :meth:`to_json`."""
        return cls(**json.loads(text))
