"""Bytes of one target changed under the feedback of what code they reach: ``-m tests.fuzz.guided``.

Atheris is libFuzzer for Python. It never returns and it has one target in a process, so each
target has a process of its own, which writes down what it found after its last case.

    python -m tests.fuzz.guided TARGET CASES SEED OUT [CORPUS]
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.running import Found

#: Bytes of a case; deep code is reached by short ones, and long ones have tests of their own.
LONGEST = 4096


def run_guided(name: str, cases: int, seed: int, corpus: Path | None = None) -> Found:
    """So many cases of the target of this name, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        out = Path(folder) / "found"
        kept = corpus or Path(folder) / "corpus"
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(cases), str(seed), str(out)]
        # the order of sets is part of what is reached
        told = subprocess.run(
            [*command, str(kept)],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            check=False,
        )
        if not out.exists():
            said = told.stderr.decode(errors="replace").splitlines()
            told_last = [line for line in said if "Instrumenting" not in line][-60:]
            raise RuntimeError("\n".join(told_last))
        found: Found = pickle.loads(out.read_bytes())  # of our own process
        return found


def main() -> None:
    """The process of one target."""
    import atheris  # here alone: what asks for a process needs none of it

    name, cases, seed, out, corpus = sys.argv[1:]
    with atheris.instrument_imports(include=["constitutional"], enable_loader_override=False):
        from tests.fuzz.running import Found
        from tests.fuzz.targets import target_named
        from tests.fuzz.trying import attempt
    target, found, begun = target_named(name), Found(), time.monotonic()
    assert target.of_bytes is not None, f"{name} is not read from bytes"
    of_bytes = target.of_bytes

    def one(data: bytes) -> None:
        found.add(attempt(target, of_bytes(data)))
        if found.cases == int(cases):
            found.seconds = time.monotonic() - begun
            Path(out).write_bytes(pickle.dumps(found))
            os._exit(0)  # nothing of libFuzzer's own end is needed

    Path(corpus).mkdir(exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (Path(corpus) / f"seed-{number:03}").write_bytes(data)
    atheris.Setup(
        [
            sys.argv[0],
            f"-seed={seed}",
            f"-max_len={LONGEST}",
            "-timeout=0",  # our own limit is on processor time
            "-rss_limit_mb=8000",
            f"-artifact_prefix={corpus}/",
            "-verbosity=0",
            corpus,
        ],
        one,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
