"""Bytes of one target changed under the feedback of what code they reach: ``-m tests.fuzz.guided``.

Atheris is libFuzzer for Python. It never returns and it has one target in a process, so each
target has a process of its own, which writes down what it found after its last case.

    python -m tests.fuzz.guided TARGET CASES SEED OUT CORPUS
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
#: Cases after which a process writes down what it found.
_EVERY = 500
#: Processes that one target may take.
_PROCESSES = 20


def run_guided(name: str, cases: int, seed: int) -> Found:
    """So many cases of the target of this name, in processes of their own.

    libFuzzer now and then ends its process without a fault of the target (its last case, tried
    alone, has none); the next one goes on with the corpus so far and another seed.
    """
    from tests.fuzz.running import Found

    whole = Found()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        for more in range(_PROCESSES):
            out = Path(folder) / f"found-{more}"
            said = _process(name, cases - whole.cases, seed + 1000 * more, out, corpus)
            if not out.exists():
                raise RuntimeError(f"no case of {name} was tried:\n{said}")
            found: Found = pickle.loads(out.read_bytes())  # of our own process
            whole.cases += found.cases
            whole.seconds += found.seconds
            whole.faults = found.faults | whole.faults
            if whole.cases >= cases:
                return whole
    raise RuntimeError(f"{name}: {whole.cases} of {cases} cases in {_PROCESSES} processes:\n{said}")


def _process(name: str, cases: int, seed: int, out: Path, corpus: Path) -> str:
    """One process; what it said at its end."""
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(cases), str(seed)]
    # the order of sets is part of what is reached
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    told = subprocess.run(
        [*command, str(out), str(corpus)], env=environment, capture_output=True, check=False
    )
    lines = told.stderr.decode(errors="replace").splitlines()
    return "\n".join([line for line in lines if "Instrumenting" not in line][-60:])


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
        if found.cases % _EVERY == 0 or found.cases == int(cases):
            found.seconds = time.monotonic() - begun
            Path(f"{out}.partial").write_bytes(pickle.dumps(found))
            Path(f"{out}.partial").replace(out)
        if found.cases == int(cases):
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
