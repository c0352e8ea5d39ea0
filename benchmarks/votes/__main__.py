"""Fifty raters cast 10,000 votes at once, on SQLite and on PostgreSQL, both real.

    python -m benchmarks.votes [--raters 50] [--votes 10000] [--kills 3] [sqlite|postgresql ...]

The server is that of ``cai serve``, in a process of its own, and every request goes over HTTP. Each
rater has one connection and no pause: the next page is asked for when a vote is answered. One vote
in twenty is sent twice. In the round with kills the server is killed (SIGKILL) on the way and
started again, and raters send again what broke off; its latencies hold those waits.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.votes.load import Outcome, cores, percentile, vote_at_once
from benchmarks.votes.postgres import postgres


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--raters", type=int, default=50)
    words.add_argument("--votes", type=int, default=10_000)
    words.add_argument("--kills", type=int, default=3)
    words.add_argument("databases", nargs="*", default=["sqlite", "postgresql"])
    asked = words.parse_args()
    each, rest = divmod(asked.votes, asked.raters)
    if rest:
        words.error("--votes has to be a multiple of --raters")
    print(f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}")
    bad = 0
    for name in asked.databases:
        for kills in (0, asked.kills) if asked.kills else (0,):
            with ExitStack() as stack:
                if name == "sqlite":
                    folder = stack.enter_context(tempfile.TemporaryDirectory())
                    place = str(Path(folder) / "votes.sqlite")
                else:
                    place = stack.enter_context(postgres())
                outcome = vote_at_once(place, raters=asked.raters, votes_each=each, kills=kills)
            bad += _report(name, kills, asked.votes, outcome)
    return min(bad, 1)


def _report(name: str, kills: int, sent: int, outcome: Outcome) -> int:
    told = outcome.told
    print(
        f"{name}, {kills} kills: {sent} votes in {outcome.seconds:.1f} s, "
        f"{len(told.acknowledged)} acknowledged, {outcome.stored} stored, "
        f"{told.twice} sent twice, {told.broken} requests broke off, "
        f"{len(outcome.lost)} lost, {len(outcome.wrong)} wrong"
    )
    for what, seconds in (("vote", told.vote_seconds), ("next page", told.page_seconds)):
        ms = [1000 * percentile(seconds, share) for share in (0.5, 0.99, 1.0)]
        print(f"  {what}: p50 {ms[0]:.1f} ms, p99 {ms[1]:.1f} ms, longest {ms[2]:.1f} ms")
    for line in outcome.wrong[:5]:
        print(f"  {line}")
    return len(outcome.lost) + len(outcome.wrong) + (outcome.stored != sent)


if __name__ == "__main__":
    raise SystemExit(main())
