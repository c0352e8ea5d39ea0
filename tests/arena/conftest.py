from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the extra `web` is not installed")

from benchmarks.votes.postgres import is_there, postgres
from sqlalchemy import create_engine, text

from constitutional.arena.database import Database
from constitutional.arena.records import Goal, Pair, Side
from constitutional.dialogue.conversation import Conversation


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    if not is_there():
        reason = "there is no PostgreSQL (initdb) on this machine"
        if os.environ.get("CONSTITUTIONAL_CI") == "1":
            pytest.fail(f"CONSTITUTIONAL_CI=1, and {reason}")
        pytest.skip(reason)
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a votes database may be made: a file, and an empty database of a real server."""
    if request.param == "sqlite":
        yield str(tmp_path / "votes.sqlite")
        return
    server: str = request.getfixturevalue("postgres_server")
    admin = create_engine(
        server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    name = f"votes_{abs(hash(str(tmp_path)))}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{server.rpartition('/')[0]}/{name}"
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    database = Database.open(place)
    yield database
    database.close()


@pytest.fixture
def pair() -> Callable[..., Pair]:
    """Makes a pair of answers of SL-CAI and RL-CAI to a numbered prompt."""

    def make(
        number: int,
        *,
        goal: Goal = "harmlessness",
        policies: tuple[str | None, str | None] = ("sl_cai", "rl_cai"),
        texts: tuple[str, str] | None = None,
        runs: tuple[str, str] = ("r1", "r1"),
        asked: str = "Question {}?",
    ) -> Pair:
        one, other = (
            Side(run=run, run_name="demo-0", policy=policy, text=text)
            for run, policy, text in zip(
                runs, policies, texts or (f"Yes {number}", f"No {number}"), strict=True
            )
        )
        prompt = Conversation.of(asked.format(number))
        return Pair.of(one, other, goal=goal, prompt_id=f"q{number}", prompt=prompt)

    return make
