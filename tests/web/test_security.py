"""Who is answered: names of this machine, tokens, writes from our own pages, bodies of a size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient
from tests.web.conftest import OURS
from tests.web_runs import write_run

from constitutional.web.rendering import Section
from constitutional.web.security import HEADERS, MAX_BODY_BYTES, cookie_name, is_loopback

TOKEN = "a token of thirty-two characters"
Browse = Callable[..., TestClient]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "small")


async def _echo(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())} bytes")


async def _fail(request: Request) -> Response:
    raise RuntimeError("a fault of the program with <b>markup</b>")


def section(door: Any = None) -> Section:
    """A part of the application that takes writes, as the arena is."""
    router = APIRouter()
    router.add_api_route("/echo", _echo, methods=["GET", "POST"])
    router.add_api_route("/echo/below", _echo, methods=["GET"])
    router.add_api_route("/fail", _fail, methods=["GET"])
    return Section("Echo", "/echo", router, door)


@pytest.fixture(scope="module")
def here(browse: Browse, run: Path) -> TestClient:
    """Served to this machine alone."""
    return browse([run], sections=[section()])


@pytest.fixture(scope="module")
def abroad(browse: Browse, run: Path) -> TestClient:
    """Served to other machines, so with a token."""
    return browse([run], token=TOKEN, sections=[section()])


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8020", "127.0.0.1:1", "[::1]:8020"])
def test_this_machines_names_are_answered_to(here: TestClient, host: str) -> None:
    assert here.get("/runs/small", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8020", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("", "[::2]:8020", "localhost@evil.example", "169.254.169.254", "localhost:evil"),
        *("[::1].evil.example", "[::1]evil", "localhost:80:80", "localhost evil.example"),
    ],
)
def test_a_name_that_was_pointed_here_is_not(here: TestClient, host: str) -> None:
    """DNS rebinding: the page of evil.example asks itself, and evil.example is now this machine."""
    for path in ("/", "/runs/small", "/static/app.css", "/nowhere"):
        assert here.get(path, headers={"Host": host}).status_code == 421


def test_which_addresses_stay_on_this_machine() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.8.0.1", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.evil"]))


# --- the token ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/runs/small", "/runs/small/chains", "/echo", "/nowhere"])
def test_nothing_is_shown_without_the_token(abroad: TestClient, path: str) -> None:
    abroad.cookies.clear()
    for headers, parameters in (
        ({}, {}),
        ({}, {"token": "another"}),
        ({"Authorization": "Bearer another"}, {}),
        ({"Cookie": f"{cookie_name(TOKEN)}=another"}, {}),
    ):
        answer = abroad.get(path, headers=headers, params=parameters)
        assert answer.status_code == 401
        assert "small" not in answer.text


def test_a_write_needs_the_token_too(abroad: TestClient) -> None:
    abroad.cookies.clear()
    assert abroad.post(f"/echo?token={TOKEN}", headers=OURS).status_code == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert abroad.post("/echo", headers=OURS | bearer).status_code == 200


def test_the_token_goes_from_the_address_into_a_cookie(abroad: TestClient) -> None:
    abroad.cookies.clear()
    answer = abroad.get("/runs/small/chains", params={"q": "a b", "token": TOKEN, "tag": "x"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/runs/small/chains?q=a+b&tag=x"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    assert abroad.get("/runs/small").status_code == 200


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example", "///evil.example"])
def test_the_way_on_stays_here(abroad: TestClient, path: str) -> None:
    abroad.cookies.clear()
    answer = abroad.get(f"http://localhost:8020{path}", params={"token": TOKEN})
    location = answer.headers["location"]
    assert location.startswith("/") and location[1] not in "/\\"


def test_styles_are_there_for_the_page_that_asks_for_the_token(abroad: TestClient) -> None:
    abroad.cookies.clear()
    assert abroad.get("/static/app.css").status_code == 200
    assert 'type="password"' in abroad.get("/").text


def test_a_door_of_its_own_opens_nothing_else(browse: Browse, run: Path) -> None:
    def door(request: HTTPConnection) -> bool:
        return request.query_params.get("rater") == "r1"

    client = browse([run], token=TOKEN, sections=[section(door)])
    assert client.get("/echo?rater=r1").status_code == 200
    assert client.get("/echo/below?rater=r1").status_code == 200
    assert client.get("/echo?rater=r2").status_code == 401
    assert client.get("/runs/small?rater=r1").status_code == 401
    assert client.get("/echoes?rater=r1").status_code == 401


# --- writes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "localhost:8020"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", **OURS},
        {"Referer": "http://localhost:8020/"},
    ],
)
def test_a_write_from_elsewhere_is_not_done(here: TestClient, headers: dict[str, str]) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert here.request(method, "/echo", headers=headers).status_code == 403


@pytest.mark.parametrize("headers", [OURS, {"Sec-Fetch-Site": "same-origin"}])
def test_a_write_from_our_pages_is(here: TestClient, headers: dict[str, str]) -> None:
    assert here.post("/echo", headers=headers, content=b"a=1").text == "3 bytes"


def test_bodies_have_a_size(here: TestClient) -> None:
    just = b"x" * MAX_BODY_BYTES
    assert here.post("/echo", headers=OURS, content=just).text == f"{MAX_BODY_BYTES} bytes"
    assert here.post("/echo", headers=OURS, content=just + b"x").status_code == 413

    def in_parts() -> Any:  # no Content-Length, so it has to be counted as it comes
        for _ in range(MAX_BODY_BYTES // 1000 + 1):
            yield b"x" * 1000

    assert here.post("/echo", headers=OURS, content=in_parts()).status_code == 413


# --- what every answer carries ------------------------------------------------------------------


def test_every_answer_has_the_policy(here: TestClient, abroad: TestClient) -> None:
    abroad.cookies.clear()
    answers = [
        here.get("/runs/small"),
        here.get("/"),
        here.get("/static/app.js"),
        here.get("/nowhere"),
        here.get("/fail"),
        here.post("/runs/small", headers=OURS),
        here.post("/echo"),
        here.get("/", headers={"Host": "evil.example"}),
        abroad.get("/"),
    ]
    assert [a.status_code for a in answers] == [200, 303, 200, 404, 500, 405, 403, 421, 401]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers.get_list(name) == [value]
    assert {a.headers["cache-control"] for i, a in enumerate(answers) if i != 2} == {"no-store"}


def test_the_policy_allows_nothing_of_others_and_nothing_inline() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    for never in ("unsafe", "*", "data:", "blob:", "http", "nonce", "sha256"):
        assert never not in policy
    for closed in ("base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"):
        assert closed in policy


def test_a_fault_says_nothing_of_itself(here: TestClient) -> None:
    assert "markup" not in here.get("/fail").text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/security.py",
        "/static/....//app.py",
        "/static//etc/passwd",
        "/static/%00app.css",
        "/static/app.css/",
        "/static/",
        "/static/..%5capp.py",
        "/runs/..%2f..%2fetc/chains",
        "/runs/%2fetc%2fpasswd",
        "/runs/small/chains/..%2f..%2f1",
        "/runs/small/comparisons/..%2f..%2fcomparisons_ai/1",
        "/runs/small/comparisons/%2fetc%2fpasswd/1",
    ],
)
def test_no_path_leads_to_a_file(here: TestClient, path: str) -> None:
    here.cookies.set("cai_warned", "yes")
    answer = here.get(path)
    assert answer.status_code == 404
    assert "import" not in answer.text and "root:" not in answer.text
