"""The shipped models and prompts as policies and what they are asked, for tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from constitutional.dialogue import Conversation, PromptRecord, load_prompts
from constitutional.microworld import data_file
from constitutional.rl.rollout import Prompts
from constitutional.runs.progress import Advance, Progress

START = data_file("helpful")


def read(kind: str, count: int) -> tuple[PromptRecord, ...]:
    """Some of the shipped prompts for RL."""
    path = data_file(f"prompts/rl_{kind}.jsonl")
    return load_prompts(path, kind=kind, limit=count).records  # type: ignore[arg-type]


def shipped_prompts() -> Prompts:
    """Sixteen of each kind."""
    return Prompts(read("red_team", 16), read("helpful", 16))


def says_you(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
    """How often the shipped model, which begins with "To" or "You", begins with "You"."""
    return [float(text.startswith("You")) for _, text in answers]


class Dies(Progress):
    """Interrupts a training once it has shown so many steps."""

    def __init__(self, after: int):
        super().__init__()
        self._left = after

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Advance]:
        yield self._count

    def _count(self, count: int = 1) -> None:
        self._left -= count
        if not self._left:
            raise KeyboardInterrupt


def files(folder: Path) -> dict[str, bytes]:
    """The files of a result but its report, which tells seconds."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "training.json"
    }
