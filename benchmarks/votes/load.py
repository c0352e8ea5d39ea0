"""Raters who vote over HTTP as a browser without a script does, and what came of it."""

from __future__ import annotations

import http.client
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

from benchmarks.votes.postgres import free_port

from constitutional.arena.database import Database
from constitutional.arena.raters import invite
from constitutional.arena.votes import standing, stored_pairs

GOAL = "harmlessness"
_FIELD = re.compile(r'name="(vote|pair|shown)" value="([^"]*)"')


@dataclass
class Server:
    """The arena in a process of its own, which can be killed and started again."""

    place: str
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.votes.server", self.place, str(self.port)]
        self._process = subprocess.Popen(command)

    def kill(self) -> None:
        """Without any warning."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self) -> None:
        """Until it answers."""
        assert self._process is not None
        while self._process.poll() is None:
            try:
                http.client.HTTPConnection("127.0.0.1", self.port, timeout=90).request("GET", "/")
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"the server ended with {self._process.returncode}")


@contextmanager
def serving(place: str) -> Iterator[Server]:
    """A server that answers, killed at the end."""
    server = Server(place)
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


@dataclass
class Told:
    """What raters were told. ``acknowledged`` are the ids of votes that the server said it took."""

    acknowledged: dict[str, tuple[str, str]] = field(default_factory=dict)
    vote_seconds: list[float] = field(default_factory=list)
    page_seconds: list[float] = field(default_factory=list)
    twice: int = 0
    broken: int = 0


class RaterClient:
    """One rater with one connection."""

    def __init__(self, port: int, name: str, token: str, told: Told, doubled: float):
        self._port, self._name, self._token = port, name, token
        self._told, self._doubled = told, doubled
        self._draw = random.Random(name)
        self._connection: http.client.HTTPConnection | None = None

    def vote(self, votes: int) -> None:
        """So many votes, one after the other, without a pause; what broke off is sent again."""
        for _ in range(votes):
            page = self._answered("GET", f"/arena/vote/{GOAL}", None, self._told.page_seconds)
            form = dict(_FIELD.findall(page))
            form["choice"] = self._draw.choice(("first", "second", "tie"))
            again = self._draw.random() < self._doubled
            for _ in range(1 + again):
                self._answered("POST", f"/arena/vote/{GOAL}", form, self._told.vote_seconds)
            self._told.twice += again
            choice = _choice(form)
            self._told.acknowledged[form["vote"]] = (form["pair"], choice)

    def _answered(
        self, method: str, path: str, form: dict[str, str] | None, seconds: list[float]
    ) -> str:
        while True:
            try:
                began = time.perf_counter()
                status, text = self._ask(method, path, form)
                seconds.append(time.perf_counter() - began)
            except (OSError, http.client.HTTPException):
                self._connection = None
                self._told.broken += 1
                time.sleep(0.05)
                continue
            expected = 200 if method == "GET" else 303
            assert status == expected, f"{method} {path}: {status} {text[:500]}"
            return text

    def _ask(self, method: str, path: str, form: dict[str, str] | None) -> tuple[int, str]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=90)
        headers = {"Cookie": f"cai_rater={self._token}; cai_warned=yes"}
        if form is not None:
            headers["Origin"] = f"http://127.0.0.1:{self._port}"
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = None if form is None else urlencode(form)
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode()


def _choice(form: dict[str, str]) -> str:
    if form["choice"] == "tie":
        return "tie"
    return form["shown"][0 if form["choice"] == "first" else 1]


@dataclass
class Outcome:
    """What was measured, and what was wrong: nothing, if all is well."""

    told: Told
    seconds: float
    stored: int
    lost: list[str]
    wrong: list[str]


def vote_at_once(
    place: str, *, raters: int, votes_each: int, kills: int = 0, doubled: float = 0.05
) -> Outcome:
    """All raters vote at the same time; the server is killed ``kills`` times on the way.

    After each kill the database is read before the server starts again: what had been acknowledged
    has to be there.
    """
    told, wrong = Told(), []
    with serving(place) as server:
        database = Database.open(place)
        tokens = {f"rater {n}": invite(database, f"rater {n}") for n in range(raters)}
        failed: list[BaseException] = []

        def work(name: str, token: str) -> None:
            try:
                RaterClient(server.port, name, token, told, doubled).vote(votes_each)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=each) for each in tokens.items()]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for kill in range(kills):
            _until(told, raters * votes_each * (kill + 1) // (kills + 1), threads)
            server.kill()
            acknowledged = dict(told.acknowledged)
            there = _stored(database)
            wrong += [f"lost in kill {kill}: {v}" for v in acknowledged if v not in there]
            server.start()
            server.wait()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        if failed:
            raise failed[0]
    stored = _stored(database)
    wrong += _counted_once(database)
    wrong += [f"not as sent: {v}" for v, sent in told.acknowledged.items() if stored.get(v) != sent]
    lost = [vote for vote in told.acknowledged if vote not in stored]
    database.close()
    return Outcome(told, seconds, len(stored), lost, wrong)


def _until(told: Told, votes: int, threads: list[threading.Thread]) -> None:
    while len(told.acknowledged) < votes and any(thread.is_alive() for thread in threads):
        time.sleep(0.005)


def _stored(database: Database) -> dict[str, tuple[str, str]]:
    """The judgements in the database by their ids."""
    with database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT id, pair, choice FROM judgement").all()
    return {id_: (pair, choice) for id_, pair, choice in rows}


def _counted_once(database: Database) -> list[str]:
    with database.reading() as connection:
        pairs = {pair.id: pair for pair in stored_pairs(connection)}
        votes, _ = standing(connection, pairs)
    seen: set[tuple[str, str]] = set()
    wrong = []
    for vote in votes:
        key = (vote.rater, vote.pair.id)
        if key in seen:
            wrong.append(f"counted twice: {key}")
        seen.add(key)
    return wrong


def percentile(seconds: list[float], share: float) -> float:
    """The value that this share of the values does not exceed, by rank."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))
