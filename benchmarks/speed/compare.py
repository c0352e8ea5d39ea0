"""Both sides of a comparison, each in its process, in turns; and what the rounds say together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from benchmarks.speed.options import Options
from benchmarks.speed.table import Row

#: Beside the environment's packages: the last TRL with PPO, which shadows the newer one.
OLD_TRL = Path(sys.prefix) / "trl-1.12"

SIDES = ("ours", "peer")

#: Seconds before each round. Right after the rates of matrix products are measured, a round of
#: labels took 17% longer than after a rest.
REST = 5


class SideFailed(Exception):
    """A side's process has ended before its time; the message ends with what it said last."""


class SideProcess:
    """One side. Used in a ``with``, at whose end the process ends."""

    def __init__(self, row: Row, which: str, options: Options):
        logs = options.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / f"{row.name}-{which}.txt"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.speed.side",
                    row.name,
                    which,
                    options.to_json(),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(options, old_trl=row.old_trl and which == "peer"),
            )
        self.settings: dict[str, float] = {}

    def __enter__(self) -> SideProcess:
        self.settings = self._told()["settings"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def round(self, number: int) -> dict[str, Any]:
        """Do a round, and wait for its figures."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            last = self._log.read_text(errors="replace").strip().splitlines()[-12:]
            raise SideFailed("\n".join([f"a side has failed, see {self._log}:", *last]))
        told: dict[str, Any] = json.loads(line)
        return told


def compare(row: Row, options: Options, rounds: int) -> dict[str, Any]:
    """A line of the results: the sides in turns, the first one of a round the second of the next.

    One prepares while the other waits, so that neither disturbs the other.
    """
    told: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    with SideProcess(row, "ours", options) as ours, SideProcess(row, "peer", options) as peer:
        processes = {"ours": ours, "peer": peer}
        for number in range(rounds):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                time.sleep(0 if options.small else REST)
                told[side].append(processes[side].round(number))
                seconds = told[side][-1]["seconds"]
                print(f"{row.name}, round {number + 1} of {rounds}: {side} {seconds:.2f} s")
    return line_of(row, told["ours"], told["peer"]) | {
        "ours_settings": ours.settings,
        "peer_settings": peer.settings,
    }


def line_of(row: Row, ours: list[dict[str, Any]], peer: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, their ratio, and everything told beside."""
    figures = {"ours": [_figure(row, r) for r in ours], "peer": [_figure(row, r) for r in peer]}
    by_round = [_ratio(row, o, p) for o, p in zip(figures["ours"], figures["peer"], strict=True)]
    mine, theirs = median(figures["ours"]), median(figures["peer"])
    line = {
        "name": row.name,
        "ours": mine,
        "peer": theirs,
        "peer_name": row.peer_name,
        "ratio": _ratio(row, mine, theirs),
        "unit": row.unit,
        "floor_share": _share(ours, "arithmetic_floor"),
        "memory_floor_share": _share(ours, "memory_floor"),
        "rounds": len(ours),
        "n": ours[0]["work"],
        "spread": [min(by_round), max(by_round)],
        "ours_rounds": figures["ours"],
        "peer_rounds": figures["peer"],
        "largest_difference": _largest(ours, peer),
    }
    for side, rounds in (("ours", ours), ("peer", peer)):
        line[f"{side}_quality"] = _medians(rounds, "quality")
        line[f"{side}_quality_rounds"] = [r["quality"] for r in rounds]
        line[f"{side}_parts"] = _medians(rounds, "parts")
        line[f"{side}_peak_memory_mb"] = median(r["peak_memory_mb"] for r in rounds)
    for rate in ("flops_per_second", "bytes_per_second"):
        if rate in ours[0]:
            line[rate] = median(r[rate] for r in ours)
    return line


def largest_difference(ours: dict[str, list[float]], peer: dict[str, list[float]]) -> float | None:
    """Between the figures of the two sides; None where there are none to compare.

    Raises ValueError where the sides do not speak of the same things.
    """
    if ours.keys() != peer.keys():
        raise ValueError(
            f"the two sides have {len(ours.keys() & peer.keys())} texts in common, of "
            f"{len(ours)} and {len(peer)}: they have not done the same work"
        )
    pairs = [pair for key in ours for pair in zip(ours[key], peer[key], strict=True)]
    return max((abs(a - b) for a, b in pairs), default=None)


def _largest(ours: list[dict[str, Any]], peer: list[dict[str, Any]]) -> float | None:
    """Over all rounds."""
    by_round = zip(ours, peer, strict=True)
    found: list[float | None] = [largest_difference(o["detail"], p["detail"]) for o, p in by_round]
    return max((difference for difference in found if difference is not None), default=None)


def _environment(options: Options, *, old_trl: bool) -> dict[str, str]:
    threads = str(options.threads)
    path = [str(OLD_TRL)] if old_trl else []
    return os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }


def _figure(row: Row, told: dict[str, Any]) -> float:
    """A rate, or seconds where less is better."""
    seconds, work = float(told["seconds"]), float(told["work"])
    return seconds / work if row.less_is_better else work / seconds


def _ratio(row: Row, ours: float, peer: float) -> float:
    """How many times faster ours is."""
    return peer / ours if row.less_is_better else ours / peer


def _share(rounds: list[dict[str, Any]], floor: str) -> float | None:
    """The floor's part of our time."""
    if floor not in rounds[0]:
        return None
    return float(median(r[floor] / r["seconds"] for r in rounds))


def _medians(rounds: list[dict[str, Any]], what: str) -> dict[str, float]:
    return {name: median(r[what][name] for r in rounds) for name in rounds[0][what]}
