"""Whatever a model writes stays text: on every page, in every place where it is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from starlette.testclient import TestClient
from tests.web.injections import CORPUS
from tests.web_runs import answer, chain, comparison, sample, write_run

from constitutional.constitution import load_constitution, save_constitution
from constitutional.dialogue import Conversation
from constitutional.evaluation.verdicts import Behaviour, Verdict
from constitutional.runs.records import Reading

Browse = Callable[..., TestClient]
#: Attributes in which an address stands.
ADDRESSES = {"href", "src", "action", "formaction", "data", "poster", "srcset", "ping", "cite"}


class Page(HTMLParser):
    """The elements of a page with the names of their attributes, its addresses, and its text."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, frozenset[str]]] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.others: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, frozenset(name for name, _ in attrs)))
        for name, value in attrs:
            (self.addresses if name in ADDRESSES else self.values).append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)


def run_of(folder: Path, texts: tuple[str, ...]) -> Path:
    """A run that has each text wherever a person or a model may have written one."""
    verdict = Verdict(harmful_request=True, behaviour=Behaviour.HELPS, harm=4, detail="")

    def readings(text: str) -> tuple[Reading, ...]:
        return tuple(
            Reading(
                principle=text, order="ab", prob_a=prob, unreadable=text, reasoning=sample(text)
            )
            for prob in (0.3, None)
        )

    chains = [
        chain(
            number,
            id=f"{text} {number}",
            prompt=Conversation.of(text, text, text),
            tags=(text,),
            response=sample(f"{text} first"),
            # all of the second revision was added to the first
            rounds=tuple(
                round_.model_copy(
                    update={
                        "principle": text,
                        "critique": sample(text),
                        "revision": sample(f"{text} second {place}" if place else "Nothing."),
                    }
                )
                for place, round_ in enumerate(chain(0).rounds)
            ),
            engine=text,
            critic=text,
            constitution=text,
        )
        for number, text in enumerate(texts)
    ]
    pairs = [
        comparison(
            number,
            readings(text),
            id=f"{text} {number}",
            prompt=Conversation.of(text),
            a=f"{text} one",
            b=f"{text} other",
            tags=(text,),
            labeller=text,
        )
        for number, text in enumerate(texts)
    ]
    answers = [
        answer("rl_cai", number, text, prompt=Conversation.of(text), verdict=verdict)
        for number, text in enumerate(texts)
    ]
    run = write_run(
        folder,
        chains=chains,
        comparisons={"comparisons_ai": pairs},
        answers={"rl_cai": answers},
        judge=None,
        name=" ".join(texts[:4]),
        metrics=_metrics(texts),
    )
    constitution = load_constitution(run / "constitution.yaml")
    hostile = [
        principle.model_copy(update={"text": text})
        for principle, text in zip(constitution.principles * 9, texts, strict=False)
        if text.isprintable()
    ]
    kept = constitution.model_copy(
        update={
            "name": texts[0],
            "principles": tuple(
                p.model_copy(update={"id": f"p-{n}"}) for n, p in enumerate(hostile)
            ),
        }
    )
    save_constitution(kept, run / "constitution.yaml")
    return run


def _metrics(texts: tuple[str, ...]) -> dict[str, Any]:
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    over = {"flagged": True, "estimate": share, "threshold": 0.1}
    return {
        "policies": {text: {"held_out": {"evasion": share}} for text in texts},
        "elo": {texts[1]: dict.fromkeys(texts, share)},
        "arms": {
            text: {
                "labels": {"contrast": {"warning": text}},
                "along": [
                    {
                        "step": text,
                        "monitors": {text: over},
                    }
                ],
            }
            for text in texts
        },
    }


def addresses(count: int) -> Iterator[str]:
    """Every page of the run, in every way in which it shows its texts."""
    yield from ("/", "/runs/run", "/runs/run/chains", "/runs/run/comparisons")
    for number in range(1, count + 1):
        yield f"/runs/run/chains/{number}"
        yield f"/runs/run/comparisons/comparisons_ai/{number}?show=differences"
        if number < 3:
            yield f"/runs/run/chains/{number}?show=plain"
            yield f"/runs/run/chains/{number}?at={number - 1}&against=first"
            yield f"/runs/run/comparisons/comparisons_ai/{number}?at={number - 1}"
    for page in range(1, 3 + count // 4):
        yield f"/runs/run/training?page={page}"
    for page in range(1, 3 + count // 25):
        yield f"/runs/run/chains?page={page}"
        yield f"/runs/run/comparisons?page={page}"


@pytest.fixture(scope="module")
def hostile(browse: Browse, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return browse([run_of(tmp_path_factory.mktemp("hostile") / "run", CORPUS)])


@pytest.fixture(scope="module")
def harmless(browse: Browse, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    words = tuple(f"word{number}" for number in range(60))
    return browse([run_of(tmp_path_factory.mktemp("harmless") / "run", words)])


@pytest.fixture(scope="module")
def known(harmless: TestClient) -> set[tuple[str, frozenset[str]]]:
    """The elements, with their attributes, that our own templates make."""
    pages = [Page(_text(harmless, address)) for address in addresses(2)]
    pages += [Page(_text(harmless, "/warning")), Page(harmless.get("/nowhere").text)]
    return {element for page in pages for element in page.elements}


def _text(client: TestClient, address: str) -> str:
    answer = client.get(address)
    if answer.status_code == 303:  # a run alone is the first page
        answer = client.get(answer.headers["location"])
    assert answer.status_code == 200, address
    return answer.text


def check(text: str, known: set[tuple[str, frozenset[str]]]) -> Page:
    """Nothing on the page but what our templates make; every address is one of ours."""
    page = Page(text)
    assert set(page.elements) - known == set()
    assert page.others == []
    for address in page.addresses:
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc) == ("", ""), address
        assert address[:1] in {"/", "?", "#"} and address[:2] != "//", address
    return page


def test_no_text_becomes_part_of_a_page(
    hostile: TestClient, known: set[tuple[str, frozenset[str]]]
) -> None:
    for address in addresses(len(CORPUS)):
        check(_text(hostile, address), known)


def test_every_text_is_shown_as_it_is(
    hostile: TestClient, known: set[tuple[str, frozenset[str]]]
) -> None:
    for number, text in enumerate(CORPUS, start=1):
        # what a parser of HTML makes of a zero byte and of a carriage return
        seen = text.replace("\0", "\ufffd")
        page = check(_text(hostile, f"/runs/run/chains/{number}?show=plain"), known)
        shown = "".join(page.texts).replace("\0", "\ufffd")
        assert shown.count(f"{seen} first") == 1
        assert shown.count(f"{seen} second 1") == 1
        assert shown.count(seen) > 8  # three turns, principles, critiques, tags, who wrote it


@pytest.mark.parametrize("text", CORPUS)
def test_what_is_asked_for_stays_text_too(
    hostile: TestClient, known: set[tuple[str, frozenset[str]]], text: str
) -> None:
    asked = quote(text, safe="")
    for address in (
        f"/runs/run/chains?q={asked}",
        f"/runs/run/chains?tag={asked}&principle={asked}&order={asked}&page={asked}&x={asked}",
        f"/runs/run/comparisons?labeller={asked}&q={asked}&arm={asked}",
        f"/runs/run/chains/1?at={asked}&q={asked}&against={asked}&show={asked}",
        f"/warning?next={asked}",
    ):
        check(_text(hostile, address), known)
    for address in (f"/{asked}", f"/runs/{asked}", f"/runs/run/comparisons/{asked}/1"):
        check(hostile.get(address).text, known)


def test_the_corpus_would_be_seen(known: set[tuple[str, frozenset[str]]]) -> None:
    """The check itself: what is not escaped on a page of ours does not pass."""
    caught = 0
    for text in CORPUS:
        for page in (f"<p>{text}</p>", f'<a href="{text}">x</a>', f'<p title="{text}">x</p>'):
            try:
                check(page, known | {("p", frozenset({"title"}))})
            except AssertionError:
                caught += 1
    assert caught > len(CORPUS)


def test_no_template_trusts_a_text() -> None:
    import constitutional.web

    folder = Path(constitutional.web.__file__).parent
    for template in (folder / "templates").rglob("*.html"):
        written = template.read_text(encoding="utf-8")
        found = re.search(r"\|\s*safe|autoescape|Markup|<style|\s(style|on[a-z]+)\s*=", written)
        assert found is None, f"{template.name}: {found}"
    for script in (folder / "static").glob("*.js"):
        written = script.read_text(encoding="utf-8")
        for writing in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert writing not in written, f"{script.name}: {writing}"
