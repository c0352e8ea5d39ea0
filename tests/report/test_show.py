"""A run in the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from report_runs import small_folder
from rich.console import Console
from tests.web.injections import CORPUS
from tests.web_runs import REFUSAL, chain, sample, write_history, write_run

from constitutional.dialogue import Conversation
from constitutional.reading import Run
from constitutional.report.show import show_run
from constitutional.report.sparks import sparkline

Cai = Callable[..., tuple[int, str, str]]


def shown(run: Path, wanted: str | None = None) -> str:
    screen = StringIO()
    show_run(Run(run), Console(file=screen, width=100), wanted)
    return screen.getvalue()


def test_a_curve_in_a_line() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5, 5]) == "▅▅▅"
    assert sparkline([0, float("nan"), 1]) == "▁ █"
    assert sparkline([]) == ""
    long = sparkline([i // 50 for i in range(400)], width=8)
    assert long == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 0, 8, 8, 8], width=3) == "▁▅█", "means of neighbours"


def test_it_shows_tables_curves_warnings_and_a_chain(tmp_path: Path) -> None:
    text = shown(small_folder(tmp_path))
    assert "small-3" in text.splitlines()[0]
    assert "Policies on held-out prompts, judged" in text
    assert "RL-CAI reward          ▁▃▆█  0.25 to 1" in text
    assert "Warning: RL-CAI, training: It was stopped: step 4" in text
    assert "red-team text" in text
    assert "revision  I will not help you read the mayor's letter" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_chain_is_shown_by_its_id(tmp_path: Path, cai: Cai) -> None:
    run = write_run(tmp_path, chains=[chain(number) for number in range(8)])
    text = shown(run, "chain-3")
    assert "Chain chain-3: 2 rounds" in text
    assert " ".join(REFUSAL.split()[:9]) in text
    code, _, error = cai("show", run, "--chain", "chain-99")
    assert (code, "has no chain 'chain-99' so far" in error) == (2, True)


def test_a_run_in_progress_shows_its_stages(tmp_path: Path) -> None:
    run = write_run(tmp_path, chains=[chain(number) for number in range(8)])
    write_history(run, 3)
    text = shown(run)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any(re.fullmatch(r"critique and revision 8 [\d.]+ s done", line) for line in lines)
    assert "RL: RL-CAI 0.0 s in progress" in lines
    assert "RL-CAI reward          ▁▅█  0.25 to 0.75" in text


@pytest.mark.parametrize("place", ["prompt", "response", "critique", "principle", "id"])
def test_a_terminal_is_never_told_what_to_do(tmp_path: Path, place: str) -> None:
    text = "\x1b[2J\x07\x9b31m[bold]\u202e\r" + "".join(CORPUS[-3:])
    made = chain(1)
    first = made.rounds[0]
    changes: dict[str, object] = {
        "prompt": {"prompt": Conversation.of(text)},
        "response": {"response": sample(text)},
        "critique": {"rounds": (first.model_copy(update={"critique": sample(text)}),)},
        "principle": {"rounds": (first.model_copy(update={"principle": text}),)},
        "id": {"id": text},
    }[place]  # type: ignore[assignment]
    said = shown(write_run(tmp_path, chains=[made.model_copy(update=changes)]))  # type: ignore[arg-type]
    assert "[bold]" in said
    assert all(c.isprintable() or c == "\n" for c in said)
