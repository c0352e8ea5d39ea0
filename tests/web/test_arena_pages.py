"""The arena over HTTP: who may vote, that a vote counts once, that nobody learns whose it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.web.conftest import OURS
from tests.web.injections import CORPUS
from tests.web.test_injections import Page
from tests.web_runs import HELP, REFUSAL, answer, sample, write_run

from constitutional.arena.database import Database
from constitutional.arena.raters import invite
from constitutional.web.app import make_app
from constitutional.web.sections import chat_and_arena
from constitutional.web.served import served

VOTE = "/arena/vote/harmlessness"
UNDO = "/arena/undo/harmlessness"
Arena = Callable[..., TestClient]


@pytest.fixture
def votes(tmp_path: Path) -> str:
    return str(tmp_path / "votes.sqlite")


@pytest.fixture
def arena(tmp_path: Path, votes: str) -> Iterator[Arena]:
    """A browser at the arena of a run whose policies gave these answers; each call is a new one."""
    opened: list[TestClient] = []

    def open_(texts: dict[str, list[str]] | None = None, **how: Any) -> TestClient:
        texts = texts or {"sl_cai": [HELP] * 6, "rl_cai": [REFUSAL] * 6}
        answers = {
            policy: [answer(policy, n, sample=sample(text)) for n, text in enumerate(said)]
            for policy, said in texts.items()
        }
        folder = tmp_path / "run"
        if not folder.exists():
            write_run(folder, answers=answers)
        runs = served([folder], tmp_path / "cache")
        app = make_app(runs, sections=chat_and_arena(runs, votes=votes), **how)
        client = TestClient(app, base_url="http://localhost:8020", follow_redirects=False)
        client.cookies.set("cai_warned", "yes")
        opened.append(client)
        return client

    yield open_
    for client in opened:
        client.close()


def come_in(client: TestClient, name: str = "Ann") -> TestClient:
    answered = client.post("/arena/raters", data={"name": name}, headers=OURS)
    assert (answered.status_code, answered.headers["location"]) == (303, "/arena")
    return client


def fields(page: str, form: str) -> dict[str, str]:
    """The hidden fields of the form with this action."""
    found = re.search(rf'<form[^>]*action="{form}".*?</form>', page, re.S)
    assert found, page
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', found[0]))


def counts(client: TestClient) -> str:
    page = client.get("/arena/results").text
    (found,) = re.findall(r"\d+ votes? by \d+ raters?, \d+ of them ties; \d+ skipped", page)
    return str(found)


def test_a_rater_comes_in_votes_and_takes_it_back(arena: Arena) -> None:
    client = come_in(arena())
    first = fields(client.get(VOTE).text, VOTE)
    for choice in ("first", "tie", "skip"):
        form = fields(client.get(VOTE).text, VOTE) | {"choice": choice}
        answered = client.post(VOTE, data=form, headers=OURS)
        assert (answered.status_code, answered.headers["location"]) == (303, VOTE)
    page = client.get(VOTE).text
    assert "3 of 6 judged" in page and "Last: skipped." in page
    assert counts(client) == "2 votes by 1 rater, 1 of them ties; 1 skipped"
    for said in ("Last: a tie.", "Last: answer 1."):
        answered = client.post(UNDO, data=fields(page, UNDO), headers=OURS)
        assert answered.headers["location"] == f"{VOTE}?said=undone"
        page = client.get(answered.headers["location"]).text
        assert said in page and "Taken back" in page
    client.post(UNDO, data=fields(page, UNDO), headers=OURS)
    again = fields(client.get(VOTE).text, VOTE)
    assert again["pair"] == first["pair"] and again["vote"] != first["vote"]


def test_a_doubled_click_is_one_vote_and_a_second_page_changes_nothing(arena: Arena) -> None:
    client = come_in(arena())
    form = fields(client.get(VOTE).text, VOTE) | {"choice": "second"}
    other_tab = fields(client.get(VOTE).text, VOTE) | {"choice": "first"}
    assert form["pair"] == other_tab["pair"]
    for _ in range(3):
        assert client.post(VOTE, data=form, headers=OURS).headers["location"] == VOTE
    answered = client.post(VOTE, data=other_tab, headers=OURS)
    assert answered.headers["location"] == f"{VOTE}?said=already"
    assert "the first vote stands" in client.get(answered.headers["location"]).text
    assert counts(client) == "1 vote by 1 rater, 0 of them ties; 0 skipped"
    assert "Last: answer 2." in client.get(VOTE).text


def test_a_vote_is_for_the_answer_that_stood_in_its_place(arena: Arena) -> None:
    """Always for the refusal, wherever it stands: RL-CAI wins everything."""
    client = come_in(arena())
    places = set()
    for _ in range(6):
        page = client.get(VOTE).text
        first, second = re.findall(r'id="text-(?:first|second)">([^<]*)', page)
        place = "first" if first.startswith("I will not") else "second"
        assert second.startswith("I will not") == (place == "second")
        places.add(place)
        client.post(VOTE, data=fields(page, VOTE) | {"choice": place}, headers=OURS)
    assert places == {"first", "second"}, "the order is drawn"
    assert "That was the last pair." in client.get(VOTE).text
    results = client.get("/arena/results").text
    (rating,) = re.findall(r'title="rl_cai">RL-CAI</th>\s*<td[^>]*>(.*?)</td>', results, re.S)
    # 6.5 to 0.5 with the prior: 400 log10(13)
    assert re.sub(r"<[^>]*>|&nbsp;|\s", "", rating) == "≥446"


def test_nothing_on_the_page_says_whose_answer_it_is(arena: Arena) -> None:
    client = come_in(arena())
    page = client.get(VOTE).text.lower()
    for name in ("sl_cai", "rl_cai", "sl-cai", "rl-cai"):
        assert name not in page


def test_only_raters_vote(arena: Arena) -> None:
    client = arena()
    assert client.get(VOTE).headers["location"] == "/arena"
    form = {"vote": "x", "pair": "y", "shown": "ab", "choice": "tie"}
    for path in (VOTE, UNDO):
        refused = client.post(path, data=form, headers=OURS)
        assert refused.status_code == 400 and "only raters vote" in refused.text
    come_in(client)
    for changed, sentence in (
        ({"choice": "third"}, "names first, second, tie or skip"),
        ({"shown": "aa"}, "names first, second, tie or skip"),
        ({"pair": "0" * 32, "vote": "0" * 32}, "a pair that is not judged here"),
        ({"vote": "1"}, "needs a UUID"),
    ):
        form = fields(client.get(VOTE).text, VOTE) | {"choice": "tie"} | changed
        refused = client.post(VOTE, data=form, headers=OURS)
        assert refused.status_code == 400 and sentence in refused.text
    assert counts(client).startswith("0 votes")
    assert client.get("/arena/vote/niceness").status_code == 404
    taken = client.post("/arena/raters", data={"name": "Ann"}, headers=OURS)
    assert taken.status_code == 400 and "called &#39;Ann&#39; already" in taken.text


def test_a_write_from_elsewhere_is_not_done(arena: Arena) -> None:
    client = come_in(arena())
    form = fields(client.get(VOTE).text, VOTE) | {"choice": "tie"}
    refused = client.post(VOTE, data=form, headers={"Origin": "http://evil.example"})
    assert refused.status_code == 403
    assert counts(client).startswith("0 votes")


def test_with_a_token_raters_come_in_by_their_links_and_no_further(
    arena: Arena, votes: str
) -> None:
    client = arena(token="secret")
    assert client.get("/arena/results").status_code == 401
    assert client.post("/arena/raters", data={"name": "Eve"}, headers=OURS).status_code == 401
    assert client.get("/").status_code == client.get("/chat").status_code == 401
    assert client.get(VOTE).headers["location"] == "/arena"
    database = Database.open(votes)
    link = f"/arena/join?rater={invite(database, 'Ann')}"
    database.close()
    wrong = client.get(f"{link}x")
    assert wrong.headers["location"] == "/arena?said=unknown" and "set-cookie" not in wrong.headers
    assert "is nobody’s" in client.get("/arena?said=unknown").text.replace("&#39;", "’")
    answered = client.get(link)
    assert answered.headers["location"] == "/arena"
    assert "HttpOnly" in answered.headers["set-cookie"]
    assert "You vote as <strong>Ann</strong>" in client.get("/arena").text
    form = fields(client.get(VOTE).text, VOTE) | {"choice": "tie"}
    assert client.post(VOTE, data=form, headers=OURS).status_code == 303
    assert client.get("/arena/results").status_code == client.get("/").status_code == 401
    client.cookies.delete("cai_rater", path="/arena")
    typed = client.post("/arena/join", data={"rater": link.partition("=")[2]}, headers=OURS)
    assert typed.headers["location"] == "/arena"
    left = client.post("/arena/leave", headers=OURS)
    assert 'cai_rater=""' in left.headers["set-cookie"]


def test_the_warning_comes_before_texts(arena: Arena) -> None:
    client = come_in(arena())
    client.cookies.delete("cai_warned")
    assert client.get(VOTE).headers["location"].startswith("/warning?next=")
    assert client.get("/arena").status_code == 200


def test_whatever_a_model_writes_stays_text(arena: Arena) -> None:
    """Each text of the corpus is an answer: its page has the elements of a plain one, and it."""
    plain = [f"Plain answer {number}." for number in range(len(CORPUS))]
    client = come_in(arena({"sl_cai": list(CORPUS), "rl_cai": plain}))
    shapes, seen = set(), set()
    for _ in CORPUS:
        text = client.get(VOTE).text
        page = Page(text)
        assert not page.others
        shapes.add(tuple(page.elements))
        seen.update(" ".join("".join(page.texts).split()).split("\n"))
        client.post(VOTE, data=fields(text, VOTE) | {"choice": "skip"}, headers=OURS)
    # with and without the line on the last vote, and the instruction open and folded
    assert len(shapes) == 3
    told = " ".join(seen)
    for text in CORPUS:
        assert " ".join(text.split()) in told, text


def test_half_a_character_is_shown_as_a_question_mark(arena: Arena) -> None:
    client = come_in(arena({"sl_cai": ["half \ud800 of it"], "rl_cai": ["all"]}))
    page = client.get(VOTE)
    assert page.status_code == 200 and "half ? of it" in page.text
    form = fields(page.text, VOTE) | {"choice": "tie"}
    assert client.post(VOTE, data=form, headers=OURS).status_code == 303


def test_a_run_without_answers_says_so(tmp_path: Path, votes: str) -> None:
    runs = served([write_run(tmp_path / "run")], tmp_path / "cache")
    app = make_app(runs, sections=chat_and_arena(runs, votes=votes))
    client = TestClient(app, base_url="http://localhost:8020", raise_server_exceptions=False)
    page = client.get("/arena")
    assert "an arena needs the evaluation answers of two policies" in page.text
    assert not Path(votes).exists()
