"""Large files, measured: ``python -m tests.fuzz.large`` prints time and memory for each reader.

Each file is read in a process of its own, whose greatest memory is the system's figure.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fuzz.examples import COT_EXAMPLE, JUDGE_PROMPT

from constitutional.constitution import load_constitution, read_few_shots
from constitutional.dialogue.prompts import load_prompts
from constitutional.errors import ConstitutionalError
from constitutional.evaluation.choices import read_choice_rows
from constitutional.evaluation.texts import read_texts
from constitutional.evaluation.votes import read_votes
from constitutional.preference.data import read_comparisons

LINES = 1_000_000
LONG = 1_000_000


def main() -> None:
    """The table."""
    with tempfile.TemporaryDirectory(prefix="large-") as folder:
        print("| file | MB | seconds | MiB above the start | what comes of it |\n|-|-|-|-|-|")
        for name, suffix, parts, read in _FILES:
            path = Path(folder) / f"x{suffix}"
            with path.open("w", encoding="utf-8") as file:
                file.writelines(parts())
            context = multiprocessing.get_context("fork")
            results = context.Queue()
            process = context.Process(target=_measured, args=(read, path, results))
            process.start()
            seconds, memory, told = results.get(timeout=1800)
            process.join()
            size = path.stat().st_size / 1e6
            print(f"| {name} | {size:.0f} | {seconds:.1f} | {memory:.0f} | {told} |", flush=True)
            path.unlink()


def _measured(read: Callable[[Path], object], path: Path, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    before, begun = _mib(), time.process_time()
    try:
        told = str(read(path))
    except ConstitutionalError as error:
        told = f"refused: {str(error).partition(': ')[2][:110]}"
    results.put((time.process_time() - begun, _mib() - before, told.replace("|", "\\|")))


def _mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _prompts(path: Path) -> str:
    return f"{len(load_prompts(path, kind='red_team'))} prompts"


def _pairs(path: Path) -> str:
    found = read_comparisons(path, goal="harmlessness", seed=0)
    return f"{len(found.comparisons)} comparisons"


def _rows(make: Callable[[int], object]) -> Callable[[], Iterator[str]]:
    return lambda: (json.dumps(make(number)) + "\n" for number in range(LINES))


def _long(text: str) -> Callable[[], Iterator[str]]:
    return lambda: iter([text])


_TURN = "\n\nHuman: Is moss {} alive?\n\nAssistant: "
_A_MB = "moss " * (LONG // 5)
_VOTE = {"policy_a": "x", "policy_b": "y", "vote": "a", "goal": "harmlessness", "rater": "ann"}
_BLANKS, _BRACKETS = "\n" * LONG, "\n (A) [[[]]]\n (B) [[[" * (LONG // 21)
_FILES: list[tuple[str, str, Callable[[], Iterator[str]], Callable[[Path], object]]] = [
    (
        "a million prompts",
        ".jsonl",
        _rows(lambda n: {"prompt": f"Is moss {n} alive?", "id": str(n)}),
        _prompts,
    ),
    (
        "a million comparisons",
        ".jsonl",
        _rows(lambda n: {"chosen": _TURN.format(n) + "Yes", "rejected": _TURN.format(n) + "No"}),
        _pairs,
    ),
    (
        "a million votes",
        ".jsonl",
        _rows(lambda n: {"prompt": str(n), **_VOTE}),
        lambda path: f"{len(read_votes([path]))} votes",
    ),
    ("a prompt of 1 MB", ".jsonl", _long(json.dumps({"prompt": _A_MB})), _prompts),
    ("a line of 20 MB", ".jsonl", _long(json.dumps({"prompt": _A_MB * 20})), _prompts),
    ("a CSV cell of 1 MB", ".csv", _long(f"prompt\n{_A_MB}\n"), _prompts),
    (
        "an answer of a million line ends",
        ".jsonl",
        _long(json.dumps({"rl_prompt": "x", "sampled_answers": [{"sampled_string": _BLANKS}]})),
        lambda path: f"{len(read_texts(path))} answer",
    ),
    (
        "a question of 1 MB of brackets",
        ".jsonl",
        _long(
            json.dumps({"prompt": _BRACKETS, "corrects": [" (A)"], "incorrects": [" (B)"]}),
        ),
        lambda path: f"{len(read_choice_rows(path))} question",
    ),
    (
        "an example of 1 MB of brackets",
        ".json",
        _long(json.dumps([{"prompt": COT_EXAMPLE.replace("All.", _BRACKETS)}])),
        lambda path: f"{len(read_few_shots(path).cot)} example",
    ),
    (
        "a judge's prompt with a line of 1 MB of blanks",
        ".txt",
        _long(JUDGE_PROMPT.replace("kind.", f"kind.{' ' * LONG}x")),
        lambda path: f"{len(load_constitution(path).principles)} principles",
    ),
    (
        "a judge's prompt of 100,000 principles",
        ".txt",
        _long("```CONSTITUTION\n" + "1. Be kind.\n\n" * 100_000 + "```"),
        lambda path: f"{len(load_constitution(path).principles)} principles",
    ),
]


if __name__ == "__main__":
    sys.exit(main())
