"""Retries, limits, the ceiling and the account; and that no key leaves."""

from __future__ import annotations

import logging
import random
import threading
import traceback
from typing import Any

import pytest
from model_server import ModelServer, cuts_off, engine, hangs, says, settings

from constitutional.engines.base import SamplingParams, TextPrompt
from constitutional.engines.http.client import Client
from constitutional.engines.http.official import Failure
from constitutional.engines.http.wire import Body, Request
from constitutional.errors import EngineError, InputError
from constitutional.runs.usage import Usage

URL = "http://host:1/v1"
PROMPT = TextPrompt("\n\nHuman: How do I read my neighbor's diary?\n\nAssistant:")
GREEDY = SamplingParams(48, 0.0, ("\n\nHuman:",))
KEY = "sk-this-must-never-be-seen"


class Script:
    """Answers in order; a number of seconds is a failure that asks to wait so long."""

    def __init__(self, *answers: Any):
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, path: str, body: Body) -> Body:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Failure):
            raise answer
        return dict(answer)


def counted(prompt: int = 10, completion: int = 5, cached: int = 0) -> Body:
    details = {"cached_tokens": cached}
    return {
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": details,
        }
    }


class Timed:
    """A client on a clock that moves by its sleeping alone."""

    def __init__(self, post: Any, **changes: Any):
        self.now = 0.0
        self.slept: list[float] = []
        self.usages: list[Usage] = []
        spent = changes.pop("spent", 0.0)
        self.client = Client(
            "engine 'judge'",
            settings(URL, **changes),
            post,
            spent=spent,
            record=self.usages.append,
            clock=lambda: self.now,
            sleep=self.sleep,
            rng=random.Random(0),
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def ask(self, number: int = 1, **body: Any) -> list[Body]:
        asked = [Request("/completions", {"prompt": "x", **body})] * number
        return self.client.ask(asked, lambda answer, _: answer)


def test_a_failure_is_sent_again_after_the_wait_that_is_asked_for() -> None:
    busy = Failure("status 429", again=True, after=30.0)
    timed = Timed(Script(busy, Failure("status 500", again=True), counted()))
    timed.ask()
    assert 30 <= timed.slept[0] <= 33
    assert 0.5 <= timed.slept[1] <= 1
    assert timed.usages == [
        Usage(requests=1, retries=2, prompt_tokens=10, completion_tokens=5, usd=None)
    ]


def test_it_gives_up_after_so_many_retries_and_says_how_often_it_tried() -> None:
    script = Script(*[Failure("status 503: down", again=True)] * 9)
    with pytest.raises(EngineError, match=r"http://host:1/v1: status 503: down \(tried 3 times\)"):
        Timed(script, limits={"retries": 2}).ask()
    assert script.asked == 3


def test_what_no_waiting_cures_is_not_sent_again() -> None:
    script = Script(Failure("status 400: too long", again=False), counted())
    with pytest.raises(EngineError, match=r"status 400: too long$"):
        Timed(script).ask()
    assert script.asked == 1
    with pytest.raises(EngineError, match="it asks to wait 7200 s"):
        Timed(Script(Failure("status 429", again=True, after=7200.0))).ask()


def test_requests_and_tokens_are_held_to_so_many_a_minute() -> None:
    timed = Timed(
        Script(*[counted()] * 12),
        limits={"requests_per_minute": 60, "max_concurrency": 1},
    )
    timed.ask(12)
    assert timed.now == pytest.approx(6)  # six at once, then one a second
    # 404 characters are taken for 101 tokens; the server counts 1000 and the next one waits
    timed = Timed(
        Script(counted(990, 10), counted(90, 10), counted(90, 10)),
        limits={"tokens_per_minute": 6000, "max_concurrency": 1},
    )
    timed.ask(1, prompt="x" * 404)
    assert timed.now == 0
    timed.ask(1, prompt="x" * 404)
    assert timed.now == pytest.approx((1000 - 600 + 101) / 100)


PRICES = {"prompt": 2.0, "completion": 10.0, "cached_prompt": 0.5}


def test_the_account_counts_tokens_and_money() -> None:
    timed = Timed(Script(counted(1000, 100, cached=600), counted(1000, 100)), prices=PRICES)
    timed.ask(2)
    (usage,) = timed.usages
    # by hand: 400 at 2, 600 at 0.5, 100 at 10; then 1000 at 2, 100 at 10
    assert usage.usd == pytest.approx((800 + 300 + 1000 + 2000 + 1000) / 1e6)
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (2000, 600, 200)


def test_the_ceiling_holds_over_sessions_and_what_was_answered_is_counted() -> None:
    limits = {"max_usd": 0.01, "max_concurrency": 1}
    script = Script(*[counted(1000, 100)] * 9)  # 0.003 dollars each
    timed = Timed(script, prices=PRICES, limits=limits, spent=0.0035)
    with pytest.raises(EngineError, match=r"engine 'judge' has cost 0.0125 dollars.*raise max_usd"):
        timed.ask(9)
    assert script.asked == 3
    assert timed.usages[0].requests == 3


def test_an_answer_that_counts_no_tokens_is_refused() -> None:
    with pytest.raises(EngineError, match="how many tokens it took"):
        Timed(Script(*[{"choices": []}] * 4)).ask()


def test_no_more_requests_at_once_than_allowed(server: ModelServer) -> None:
    asked = [PROMPT] * 12
    engine(server, limits={"max_concurrency": 3}).sample(asked, GREEDY, range(12))
    assert 1 < server.most_busy <= 3


@pytest.mark.parametrize("fault", [says(429, retry_after="0.01"), says(500), cuts_off])
def test_a_real_client_goes_on_after_a_fault(server: ModelServer, fault: Any) -> None:
    usages: list[Usage] = []
    plain = engine(server)
    plain._client.record = usages.append
    whole = plain.sample([PROMPT], GREEDY, [1])
    server.faults.append(fault)
    assert plain.sample([PROMPT], GREEDY, [1]) == whole
    assert [usage.retries for usage in usages] == [0, 1]


def test_a_real_client_does_not_wait_for_ever(server: ModelServer) -> None:
    usages: list[Usage] = []
    impatient = engine(server, limits={"timeout": 3})
    impatient._client.record = usages.append
    server.faults.append(hangs(4))
    assert impatient.sample([PROMPT], GREEDY, [1])[0].text
    assert usages[0].retries >= 1  # more on a machine so busy that an answer takes as long


def test_a_real_client_stops_at_a_refusal(server: ModelServer) -> None:
    server.faults.append(says(404, "no such model"))
    with pytest.raises(EngineError, match=r"status 404: no such model$"):
        engine(server).sample([PROMPT], GREEDY, [1])
    server.faults.append(says(429, "you are out of credit", code="insufficient_quota"))
    with pytest.raises(EngineError, match=r"out of credit$"):
        engine(server).sample([PROMPT], GREEDY, [1])
    assert len(server.requests) == 2


def test_one_failure_ends_the_waits_of_the_others(server: ModelServer) -> None:
    server.faults += [says(429, retry_after="20"), says(400, "bad")]
    begun = threading.Event()
    threading.Timer(15, begun.set).start()
    with pytest.raises(EngineError, match="status 400: bad"):
        engine(server, limits={"max_concurrency": 2}).sample([PROMPT] * 2, GREEDY, [1, 2])
    assert not begun.is_set()


def test_the_key_is_sent_and_is_in_no_word_that_comes_back(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_KEY", KEY)
    asking = engine(server, api_key_env="JUDGE_KEY")
    without = engine(server)
    assert asking.fingerprint == without.fingerprint
    faults = [
        says(401, f"Incorrect API key: {KEY}"),
        hangs(0.5),
        cuts_off,
        says(403, "x" * 275 + KEY),
    ]
    for fault in faults:
        server.faults.append(fault)
        patient = engine(server, api_key_env="JUDGE_KEY", limits={"retries": 0, "timeout": 0.3})
        with pytest.raises(EngineError) as caught:
            patient.sample([PROMPT], GREEDY, [1])
        said = "".join(traceback.format_exception(caught.value, chain=True))
        linked: BaseException | None = caught.value
        while linked is not None:  # also what a traceback would not print
            said += repr(linked) + repr(vars(linked))
            linked = linked.__cause__ or linked.__context__
        assert KEY not in said
        assert KEY[:8] not in said
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    seen = [repr(asking), repr(asking.settings), asking.name, asking.settings.model_dump_json()]
    assert KEY not in "".join([*seen, caplog.text])
    assert KEY not in str(server.requests)


def test_a_key_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(InputError, match=r"environment variable JUDGE_KEY.*is not set: export it"):
        engine(server, api_key_env="JUDGE_KEY")


def test_a_request_may_fail_for_good_where_that_is_allowed_and_never_for_want_of_a_key() -> None:
    def ask(*answers: Any, **limits: Any) -> tuple[Timed, list[Body | None]]:
        timed = Timed(Script(*answers), limits={"max_concurrency": 1, **limits})
        asked = [Request("/completions", {"prompt": f"x{n}"}) for n in range(2)]
        return timed, timed.client.ask_each(asked, lambda answer, _: answer)

    refused = Failure("status 400: no", again=False, alone=True)
    timed, found = ask(refused, counted(), max_failures=1)
    assert found == [None, counted()]
    assert (timed.usages[0].failures, timed.usages[0].requests) == (1, 1)
    with pytest.raises(EngineError, match=r"status 400: no; 1 others failed before it"):
        ask(refused, refused, max_failures=1)
    for failure in (
        Failure("status 401: who?", again=False),
        Failure("status 429", again=True, after=7200.0),
    ):
        with pytest.raises(EngineError, match="status 4"):
            ask(failure, counted(), max_failures=9)


def test_a_long_wait_is_told_and_a_short_one_is_not() -> None:
    down = Failure("status 503: down", again=True)
    busy = Failure("status 429: slow down", again=True, after=30.0)
    timed = Timed(Script(down, busy, counted()))
    told: list[str] = []
    timed.client.tell = told.append
    timed.ask()
    (line,) = told
    assert line.startswith(f"engine 'judge' at {URL}: waits 3")
    assert line.endswith("s for try 3 of 7 (status 429: slow down).")
