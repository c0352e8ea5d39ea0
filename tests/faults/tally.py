"""What is counted of a fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.world import Ended, World, check, outcome, records_of


@dataclass
class Tally:
    """Tries of a fault, and what came of them.

    ``lost``: records of the undisturbed run that are missing at the end, or differ. ``doubled``:
    records that are there too often, or were made again although they were safe on the disk when
    the command was given. ``recover``: seconds from the command to the first new work, with all
    imported. ``stopped``: seconds from a signal to the process's end. ``stages``: where it hit.
    """

    tries: int = 0
    lost: int = 0
    doubled: int = 0
    recover: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)
    note: str = ""

    def tried(self, stage: str) -> None:
        """A fault was done while the run was at this stage."""
        self.tries += 1
        self.stages[stage] += 1

    def went_on(self, ended: Ended, safe: dict[tuple[str, int], int]) -> None:
        """The command was given again, when the blocks in ``safe`` were whole on the disk."""
        self.recover.append(ended.until_work)
        self.doubled += sum(safe.get(block, 0) for block in ended.made)

    def compare(self, world: World, out: Path, share: int = 1) -> None:
        """The finished run with the undisturbed one; raises where anything but records differs."""
        found = outcome(out)
        had, has = records_of(world.expected), records_of(found)
        self.lost += sum((had - has).values())
        self.doubled += sum((has - had).values())
        wrong = [n for n in {*found, *world.expected} if found.get(n) != world.expected.get(n)]
        check(not wrong, f"{out.name} differs from the undisturbed run in {sorted(wrong)}")

    def as_json(self) -> dict[str, float | int]:
        """As ``docs/faults.json`` has it; ``recover_seconds`` is the longest."""
        longest = round(max(self.recover, default=0.0), 2)
        return {
            "tries": self.tries,
            "lost": self.lost,
            "doubled": self.doubled,
            "recover_seconds": longest,
        }
