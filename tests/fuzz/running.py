"""Many cases of one target, with every fault kept once, by its smallest case."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.trying import Fault, Target, attempt

#: Cases between two words on how far it is.
_PART = 5000


@dataclass
class Found:
    """What the cases of a target brought to light; ``faults`` by their mark."""

    cases: int = 0
    seconds: float = 0.0
    faults: dict[str, Fault] = field(default_factory=dict)

    def add(self, fault: Fault | None) -> None:
        """Count a case, and keep its fault where it is a new one or a smaller one."""
        self.cases += 1
        if fault is None:
            return
        known = self.faults.get(fault.mark)
        if known is None or len(repr(fault.case)) < len(repr(known.case)):
            self.faults[fault.mark] = fault


def run_generated(
    target: Target, cases: int, seed: int, tell: Callable[[str], None] = lambda text: None
) -> Found:
    """So many cases that are built from the target's examples, the same for the same ``seed``."""
    found, begun = Found(), time.monotonic()
    for number in range(cases):
        # each from a generator of its own, so that one case can be made again
        found.add(attempt(target, target.make(Random(f"{seed}/{target.name}/{number}"))))
        if found.cases % _PART == 0:
            tell(f"{target.name}: {found.cases} of {cases}, {len(found.faults)} faults")
    found.seconds = time.monotonic() - begun
    return found
