"""``cai serve`` as a process: its address, its token, its sentences, its end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from tests.web_runs import chain, write_run

Cai = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", chains=[chain(n) for n in range(6)])


@contextmanager
def serving(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it prints."""
    words = [sys.executable, "-c", "from constitutional.cli import main; main()", "serve"]
    process = subprocess.Popen(
        [*words, *map(str, arguments), "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found is not None
        yield process, found[0]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def status(address: str) -> int:
    try:
        with urlopen(address, timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_it_serves_until_it_is_interrupted(run: Path, tmp_path: Path) -> None:
    with serving(run, "--cache", tmp_path) as (process, address):
        assert status(f"{address}runs/run") == 200
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "sqlite" in loaded and "libtorch" not in loaded
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) in (0, 130, -signal.SIGINT)
        assert process.stderr is not None and "Traceback" not in process.stderr.read()


def test_other_machines_need_the_token_that_is_printed(run: Path, tmp_path: Path) -> None:
    with serving(run, "--host", "0.0.0.0", "--cache", tmp_path) as (_, address):
        found = re.fullmatch(r"http://(?!0\.)[^/]+(:\d+/)\?token=(\S{32,})", address)
        assert found is not None
        there, token = f"http://127.0.0.1{found[1]}", found[2]
        assert status(f"{there}runs/run") == 401
        assert status(f"{there}runs/run?token={token[:-1]}") == 401


def test_a_cache_may_be_named_from_here(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(run, "--cache", "cache") as (_, address):
        assert status(f"{address}runs/run") == 200
    assert len([*(tmp_path / "cache").glob("*.sqlite")]) == 1


def test_a_folder_that_is_no_run_costs_a_sentence(cai: Cai, tmp_path: Path) -> None:
    code, out, error = cai("serve", tmp_path, "--cache", tmp_path / "cache")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "is no run folder" in error


def test_a_port_that_is_taken_costs_a_sentence(cai: Cai, run: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, error = cai("serve", run, "--port", str(port), "--cache", tmp_path)
    assert code == 2 and error.count("\n") == 1
    assert "choose another --host or --port" in error


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("--policy", "nobody"), "no run has a policy 'nobody': known are "),
        (("--judge", "comparisons", "--policy", "sl_cai"), "name one run and no policy"),
        (("--votes", "mysql://x@y/z"), "SQLite or PostgreSQL, found 'mysql'"),
    ],
)
def test_what_is_asked_of_the_arena_is_refused_before_it_serves(
    cai: Cai, tmp_path: Path, asked: tuple[str, ...], sentence: str
) -> None:
    done = write_run(tmp_path / "done", metrics={})
    code, _, error = cai("serve", done, "--cache", tmp_path / "cache", *asked)
    assert code == 2 and error.count("\n") == 1
    assert sentence in error


def test_a_cache_that_cannot_be_written_costs_a_sentence(
    cai: Cai, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    code, _, error = cai("serve", run, "--cache", tmp_path / "file" / "below")
    assert code == 2 and error.count("\n") == 1
    assert "--cache" in error
