"""Targets: every address of ``cai serve``, asked as nobody ought to ask."""

from __future__ import annotations

import atexit
import json
import re
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, urlencode

from starlette.testclient import TestClient
from tests.chat_run import chat_run
from tests.fuzz.damage import damaged, text
from tests.fuzz.trying import Target
from tests.web_runs import HELP, REFUSAL, add_records, answer, chain, comparison, sample

from constitutional.recipe import load_recipe
from constitutional.runs import RunFolder
from constitutional.web.app import make_app
from constitutional.web.chat.answering import LONGEST_MESSAGE
from constitutional.web.sections import chat_and_arena
from constitutional.web.security import MAX_BODY_BYTES
from constitutional.web.served import served

_OURS = {"Origin": "http://localhost:8020"}
_FORM = "application/x-www-form-urlencoded"
#: Status codes that are an answer.
_ANSWERS = frozenset({200, 204, 303, 400, 401, 403, 404, 405, 413, 415, 421, 422})


class Asked(NamedTuple):
    """A request. ``path`` is quoted, ``body`` goes as it is."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@cache
def browser() -> TestClient:
    """A rater's browser at a small run with every kind of record, chat and arena."""
    closing = ExitStack()
    atexit.register(closing.close)
    folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
    runs = served([_run(folder / "run")], folder / "cache")
    for run in runs:
        run.index.update()
    sections = chat_and_arena(runs, votes=str(folder / "votes.sqlite"))
    app = make_app(runs, sections=sections)
    client = TestClient(
        app,
        base_url="http://localhost:8020",
        follow_redirects=False,
        raise_server_exceptions=True,
    )
    closing.enter_context(client)
    client.cookies.set("cai_warned", "yes")
    client.post("/arena/raters", data={"name": "Ann"}, headers=_OURS)
    # what is loaded once is no case's own time
    asked = {"policy": "run:helpful", "message": "How do I wash my dog?", "rounds": "0"}
    assert client.post("/chat", data=asked, headers=_OURS).status_code == 200
    return client


def _run(folder: Path) -> Path:
    """A run with every kind of record, whose embedded models can be asked."""
    said = {"sl_cai": HELP, "rl_cai": REFUSAL}
    answers = {
        policy: [answer(policy, n, sample=sample(words)) for n in range(12)]
        for policy, words in said.items()
    }
    chat_run(folder, answers)
    recipe = load_recipe(folder.with_suffix(".yaml")).model_dump(mode="json")
    with RunFolder.open(folder, recipe, command="cai run") as run:
        add_records(run, "critique_revision", [chain(n) for n in range(9)])
        add_records(run, "comparisons", [comparison(n) for n in range(9)])
    return folder


def routes() -> list[tuple[str, str]]:
    """Method and path of every address, with the names of this run in it."""
    found = []
    for route in _routes(browser().app):
        path = route.path.replace("{run}", "run").replace("{stage}", "comparisons")
        path = path.replace("{number}", "3").replace("{goal}", "harmlessness")
        path = re.sub(r"\{name.*?\}", "pages.css", path)
        found += [(method, re.sub(r"\{.*?\}", "x", path)) for method in sorted(route.methods)]
    return sorted(set(found))


def _routes(app: Any) -> list[Any]:
    inner = app
    while not hasattr(inner, "routes"):
        inner = inner._app
    return [route for route in _leaves(inner.routes) if getattr(route, "methods", None)]


def _leaves(routes: Any) -> list[Any]:
    found: list[Any] = []
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        found += _leaves(inner.routes) if inner is not None else [route]
    return found


def ask(case: Asked) -> None:
    """Ask; whatever is not an answer, or lacks the policy of our pages, is a fault."""
    url = case.path + (f"?{case.query}" if case.query else "")
    client = browser()
    headers = [
        (k.encode("latin-1", "replace"), v.encode("utf-8", "replace")) for k, v in case.headers
    ]
    kept = dict(client.cookies)
    try:
        answered = client.request(case.method, url, headers=headers, content=case.body)
    finally:
        client.cookies.clear()
        for name, there in kept.items():
            client.cookies.set(name, there)
    assert answered.status_code in _ANSWERS, (
        f"{case.method} {case.path[:20]}: {answered.status_code}"
    )
    assert "content-security-policy" in answered.headers
    assert not answered.headers.get("location", "/").startswith(("//", "http"))
    if answered.headers.get("content-type", "").startswith("application/json"):
        json.loads(answered.content)


# Cases

_QUERIES: dict[str, list[str]] = {
    "q": ["letter", "mayor's", '"', "*", "a AND", "NEAR(a b)", "-", "col:x", "%", "\\"],
    "page": ["1", "2", "99999999", "-1", "x"],
    "at": ["0", "3", "99999999", "\u0661"],
    "order": ["number", "pm", "flip", "shift", "label"],
    "arm": ["rl_cai", "x"],
    "show": ["differences", "plain"],
    "against": ["first", "before"],
    "said": ["already", "undone", "x"],
    "next": ["/run", "//evil", "/\\evil", "http://x", "/run?q=%00"],
    "token": ["x"],
    "rater": ["x"],
    "tag": ["seen"],
    "behaviour": ["helps"],
    "principle": ["no-harm"],
}
_EXCHANGE = [{"message": "Hi", "answers": {"run:helpful": "Hello"}}]
_FORMS: list[dict[str, Any]] = [
    {"name": "Ben"},
    {"rater": "x"},
    {"vote": "v1", "pair": "p", "choice": "first", "shown": "ab"},
    {"judgement": "v1"},
    {"policy": "run:helpful", "message": "How do I wash my dog?", "rounds": "0", "seed": "1"},
    {
        "policy": "run:nobody",
        "message": "How do I read my letter?",
        "before": json.dumps(_EXCHANGE),
        "rounds": "0",
        "seed": "5",
    },
]
_HEADERS: list[tuple[str, str]] = [
    ("Host", "evil.example"),
    ("Origin", "null"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Cookie", "cai_warned=yes; cai_rater=\xff"),
    ("Authorization", "Bearer x"),
    ("If-None-Match", "*"),
    ("Accept-Encoding", "gzip;q=x"),
    ("Range", "bytes=0-5,7-"),
    ("Content-Type", "multipart/form-data; boundary=x"),
    ("Content-Type", "application/json"),
    ("Content-Length", "3"),
    ("X-Forwarded-Host", "evil"),
]


def _asked(rng: Random) -> Asked:
    method, path = rng.choice(routes())
    if rng.random() < 0.1:
        method = rng.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH"])
    headers = [] if rng.random() < 0.1 else [*_OURS.items()]
    body = b""
    if method == "POST":
        body, kind = _body(rng)
        headers.append(("Content-Type", kind))
    if rng.random() < 0.15:
        headers.append(rng.choice(_HEADERS))
    return Asked(method, _path(rng, path), _query(rng), tuple(headers), body)


def _path(rng: Random, path: str) -> str:
    if rng.random() < 0.6:
        return path
    parts = path.split("/")
    at = rng.randrange(len(parts))
    hurt = rng.choice(
        [text(rng), "..", "%2e%2e", "99999999", "-1", "1e3", "run", "answers_sl_cai", ""]
    )
    parts[at] = quote_from_bytes(hurt.encode("utf-8", "surrogatepass"), safe="%.")
    return "/" + "/".join(parts).lstrip("/")


def _query(rng: Random) -> str:
    given = []
    for _ in range(rng.choice([0, 0, 1, 2, 4])):
        name = rng.choice([*_QUERIES])
        said = rng.choice(_QUERIES[name]) if rng.random() < 0.7 else text(rng)
        given.append((name.encode(), said.encode("utf-8", "surrogatepass")))
    return urlencode(given)


def _body(rng: Random) -> tuple[bytes, str]:
    kind = rng.randrange(10)
    if kind == 0:
        return text(rng).encode("utf-8", "surrogatepass"), _FORM
    if kind == 1:
        head = b'--x\r\nContent-Disposition: form-data; name="name"; filename="a"\r\n'
        part = head + b"\r\nBen\r\n--x--\r\n"
        at = rng.randrange(len(part))
        hurt = part[:at] + bytes([rng.randrange(256)]) + part[at + rng.randrange(3) :]
        return hurt, "multipart/form-data; boundary=x"
    if kind == 2 and rng.random() < 0.05:
        longest = rng.choice([MAX_BODY_BYTES + 1, LONGEST_MESSAGE + 1])
        return b"message=" + b"x" * longest, _FORM
    form = damaged(rng, _FORMS, ("name", "vote", "pair", "choice", "shown", "before"))
    if not isinstance(form, dict):
        form = {"before": json.dumps(form)}
    pairs = [
        (k.encode("utf-8", "surrogatepass"), str(v).encode("utf-8", "surrogatepass"))
        for k, v in form.items()
    ]
    return urlencode(pairs).encode(), _FORM


def page_targets() -> list[Target]:
    """The pages. Bytes are not guided here: the code between is the framework's."""
    return [Target("web pages", _asked, ask, share=12, ready=browser)]
