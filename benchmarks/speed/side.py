"""One side of a comparison in a process of its own, which does a round whenever it is told to.

    python -m benchmarks.speed.side chains ours '{"work": ..., "threads": 2, ...}'

Lines of JSON: in, the number of a round; out, that it is ready, then each round. What the libraries
print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from importlib import import_module
from typing import Any

from benchmarks.speed.floor import measured_rates
from benchmarks.speed.measuring import (
    Floor,
    Side,
    forget_peak,
    peak_memory_mb,
)
from benchmarks.speed.options import Options
from benchmarks.speed.table import TABLE, Row


def main() -> None:
    """Prepare, then do rounds until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    row, which, options = TABLE[sys.argv[1]], sys.argv[2], Options.from_json(sys.argv[3])

    def tell(what: dict[str, Any]) -> None:
        print(json.dumps(what), file=out, flush=True)

    side = _prepared(row, which, options)
    tell({"settings": side.settings})
    for line in sys.stdin:
        forget_peak()
        measured = side.round(int(line))
        told = asdict(replace(measured, floor=None)) | {"peak_memory_mb": peak_memory_mb()}
        tell(told | _floor(measured.floor, options))


def _prepared(row: Row, which: str, options: Options) -> Side:
    import torch

    torch.set_num_threads(options.threads)
    module = import_module(f"benchmarks.speed.{row.module}")
    side: Side = getattr(module, which)(options, **row.arguments)
    return side


def _floor(floor: Floor | None, options: Options) -> dict[str, Any]:
    """The least time of the round, at rates that are measured right after it."""
    if floor is None:
        return {}
    rates = measured_rates(floor.shape, floor.rows, options.device, options.dtype)
    return {
        "arithmetic_floor": floor.need.flops / rates.flops,
        "memory_floor": floor.need.bytes / rates.bytes,
        "flops_per_second": rates.flops,
        "bytes_per_second": rates.bytes,
    }


if __name__ == "__main__":
    main()
