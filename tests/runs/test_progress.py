from __future__ import annotations

import io

import pytest

from constitutional.runs import Progress, QuietProgress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_start_a_line_every_five_seconds_and_an_end() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(stream, clock=clock).task("Critique", total=40, done=10) as advance:
        for _ in range(30):
            clock.now += 2
            advance()
    assert stream.getvalue().splitlines()[:3] == [
        "Critique: 40 to do, 10 already there",
        "Critique: 13 of 40, 30.0/min, 54 s left",
        "Critique: 16 of 40, 30.0/min, 48 s left",
    ]
    assert stream.getvalue().splitlines()[-1] == "Critique: 40 of 40 in 60.0 s"
    assert len(stream.getvalue().splitlines()) == 11


def test_a_stopped_task_says_where() -> None:
    clock, stream = Clock(), io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress(stream, clock=clock).task("T", 4) as advance:
        clock.now = 3
        advance(2)
        raise KeyboardInterrupt
    assert stream.getvalue() == "T: 4 to do\nT: stopped at 2 of 4 in 3.0 s\n"


def test_a_task_that_is_done_already_is_one_line() -> None:
    stream = io.StringIO()
    with Progress(stream).task("T", 4, done=4) as advance:
        advance(0)
    assert stream.getvalue() == "T: 4 of 4, already there\n"


def test_a_terminal_gets_a_bar_also_for_a_task_within_a_task() -> None:
    stream = Terminal()
    progress = Progress(stream)
    with progress.task("[outer]", 2) as outer, progress.task("inner", 3) as inner:
        inner(3)
        outer()
    assert "[outer]" in stream.getvalue()
    assert "3/3" in stream.getvalue()


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().task("T", 1) as advance:
        advance()
    assert capsys.readouterr().out == ""


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with QuietProgress().task("T", 2) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")
