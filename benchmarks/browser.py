"""What the run browser takes for a large run: the index, the first page, searches, memory.

    python benchmarks/browser.py [--records 100000] [--keep FOLDER]

Writes a run of so many chains and as many comparisons, starts ``cai serve`` on it with an empty
cache, asks it over HTTP, and reads the memory of its process from /proc. Texts are drawn from
20,000 made-up words as often as words of a language are (Zipf), some 60 to an answer.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote
from urllib.request import Request, urlopen

from constitutional.dialogue import Conversation
from constitutional.runs import QuietProgress, RunFolder, one_by_one
from constitutional.runs.records import Chain, Comparison, Reading, Round, Sample

WORDS = 20_000
PRINCIPLES = [f"principle-{number}" for number in range(16)]
BLOCK = 128


class Texts:
    """Draws texts; the word of rank r is drawn in proportion to 1/r."""

    def __init__(self, seed: int):
        self._rng = random.Random(seed)
        letters = "aeiou", "bcdfghklmnprstvw"
        self.words = [
            "".join(self._rng.choice(letters[(n + place) % 2]) for place in range(3 + n % 7))
            + str(n)
            for n in range(WORDS)
        ]
        total, self._sums = 0.0, []
        for rank in range(1, WORDS + 1):
            total += 1 / rank
            self._sums.append(total)

    def text(self, words: int) -> str:
        return " ".join(self._rng.choices(self.words, cum_weights=self._sums, k=words))

    def chain(self, number: int) -> Chain:
        """Four rounds, of which about every second one changes the answer."""
        versions = [self.text(60)]
        for _ in range(4):
            versions.append(self.text(60) if self._rng.random() < 0.5 else versions[-1])
        rounds = tuple(
            Round(
                principle=self._rng.choice(PRINCIPLES),
                critique=sample(self.text(25)),
                revision=sample(text),
            )
            for text in versions[1:]
        )
        return Chain(
            id=f"chain-{number}",
            prompt=Conversation.of(self.text(15)),
            tags=("seen" if number % 3 else "held_out",),
            response=sample(versions[0]),
            rounds=rounds,
            engine="made up",
            constitution="",
        )

    def comparison(self, number: int) -> Comparison:
        readings = tuple(
            Reading(principle=principle, order=order, prob_a=self._rng.random())
            for principle in self._rng.sample(PRINCIPLES, 3)
            for order in ("ab", "ba")
        )
        return Comparison(
            id=f"pair-{number}",
            prompt=Conversation.of(self.text(15)),
            a=self.text(60),
            b=self.text(60),
            goal="harmlessness",
            labeller="made up",
            prob_a=self._rng.random(),
            readings=readings,
        )


def sample(text: str) -> Sample:
    return Sample(text=text, ended="eos", tokens=len(text.split()), seed=0)


def write(folder: Path, records: int) -> None:
    """The run, by the code that a run writes its journals with."""
    texts = Texts(0)
    recipe = {"name": "large", "seed": 0}
    with RunFolder.open(folder, recipe, command="benchmarks/browser.py") as run:
        for stage, record_type, draw in (
            ("critique_revision", Chain, texts.chain),
            ("comparisons_ai", Comparison, texts.comparison),
        ):
            run.stage_records(
                stage,
                inputs={},
                record_type=record_type,
                items=range(records),
                block_size=BLOCK,
                make=one_by_one(lambda block, draw=draw: [draw(number) for number in block]),
                progress=QuietProgress(),
            )


@contextmanager
def serving(run: Path, cache: Path) -> Iterator[tuple[str, int]]:
    """``cai serve`` in a process of its own: its address and the number of the process."""
    command = [sys.executable, "-c", "from constitutional.cli import main; main()", "serve"]
    process = subprocess.Popen(
        [*command, str(run), "--port", "0", "--cache", str(cache)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found is not None
        yield found[0].rstrip("/"), process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def get(address: str) -> tuple[float, str]:
    """Milliseconds and the page."""
    start = time.perf_counter()
    with urlopen(Request(address, headers={"Cookie": "cai_warned=yes"}), timeout=60) as answer:
        text = answer.read().decode()
    return 1000 * (time.perf_counter() - start), text


def total(page: str) -> int:
    found = re.search(r'<h1 id="found">\w+ <span class="muted">([^<]*)<', page)
    return int("".join(filter(str.isdigit, found[1]))) if found else 0


def megabytes(process: int, line: str) -> float:
    """Of memory: now (VmRSS) or at most so far (VmHWM)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(rf"{line}:\s+(\d+) kB", status)[0]) / 1024


def queries(texts: Texts) -> Iterator[tuple[str, str]]:
    """A name and the query string of each search: for what all records have, down to one."""
    words = texts.words
    for rank in (0, 1, 5, 20, 100, 1000, 10_000):
        yield f"word of rank {rank + 1}", f"q={words[rank]}"
    yield "two frequent words", f"q={words[0]}+{words[2]}"
    yield "three words", f"q={words[3]}+{words[30]}+{words[300]}"
    yield "a phrase", "q=" + quote(f'"{words[0]} {words[1]}"')
    yield "a beginning of four letters", "q=" + quote(f"{words[50][:4]}*")
    yield "an id", "q=77777"
    yield "a frequent word by a principle", f"q={words[0]}&principle=principle-3"
    yield "a word, a principle and a tag", f"q={words[40]}&principle=principle-3&tag=held_out"
    yield "by a tag alone", "tag=seen"
    yield "the last page", "page=4000"
    yield "most changed first", "order=changes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="Where the run is made, or was made before.")
    parser.add_argument("--rounds", type=int, default=5, help="How often each page is asked for.")
    args = parser.parse_args()
    with TemporaryDirectory() as scratch:
        run = args.keep or Path(scratch) / "run"
        if not (run / "run.json").exists():
            write(run, args.records)
        measure(run, Path(scratch) / "cache", args.records, args.rounds)


def measure(run: Path, cache: Path, records: int, rounds: int) -> None:
    """Everything in the order in which it happens, a line each."""
    start = time.perf_counter()
    with serving(run, cache) as (home, process):
        print(f"until the server answers: {time.perf_counter() - start:.1f} s")
        name = f"{home}/runs/{run.name}"
        while not total(get(f"{name}/chains")[1]):
            time.sleep(0.1)
        print(f"first records on a page, the index being made: {time.perf_counter() - start:.1f} s")
        print(f"chains while it is made: {during(name, process, records)}")
        print(f"until all {2 * records:,} records are in it: {time.perf_counter() - start:.0f} s")
        print(f"memory at most, making it: {megabytes(process, 'VmHWM'):.0f} MB")
    size = sum(path.stat().st_size for path in cache.iterdir()) / 1e6
    journals = sum(path.stat().st_size for path in run.rglob("records.jsonl")) / 1e6
    print(f"index {size:.0f} MB, journals {journals:.0f} MB")
    with serving(run, cache) as (home, process):
        name = f"{home}/runs/{run.name}"
        for what, path in (
            *(("overview", ""), ("chains", "/chains"), ("comparisons", "/comparisons")),
            *(("a chain", f"/chains/{records // 2}?at={records // 2 - 1}"),),
            ("a comparison", f"/comparisons/comparisons_ai/{records // 2}?at={records // 2 - 1}"),
        ):
            first, *then = [get(name + path)[0] for _ in range(rounds + 1)]
            print(f"{what}: first {first:.0f} ms, then {line(then)}")
        slowest: list[float] = []
        for what, query in queries(Texts(0)):
            taken = [get(f"{name}/chains?{query}") for _ in range(rounds)]
            slowest += [milliseconds for milliseconds, _ in taken]
            found = total(taken[0][1])
            print(f"  {what}: {found:,} found, {line([milliseconds for milliseconds, _ in taken])}")
        for order in ("orders", "principles"):
            taken = [
                get(f"{name}/comparisons?order={order}&q={Texts(0).words[0]}")
                for _ in range(rounds)
            ]
            slowest += [milliseconds for milliseconds, _ in taken]
            print(f"  {order} first, a frequent word: {line([ms for ms, _ in taken])}")
        print(f"all of these: {line(slowest)}")
        print(f"memory at most: {megabytes(process, 'VmHWM'):.0f} MB")


def during(name: str, process: int, records: int) -> str:
    """The list asked for twice a second until all comparisons are in the index too."""
    taken = []
    while True:
        taken.append(get(f"{name}/chains")[0])
        if total(get(f"{name}/comparisons")[1]) == records:
            return line(taken)
        time.sleep(0.5)


def line(milliseconds: Sequence[float]) -> str:
    return f"median {statistics.median(milliseconds):.0f} ms, at most {max(milliseconds):.0f} ms"


if __name__ == "__main__":
    main()
