"""Who is answered, and under which rules: one guard around the whole application.

- Without a token only this machine's own names are answered to, so that a page elsewhere cannot
  reach a run by a name that it has pointed at this machine (DNS rebinding). With one, every request
  needs it: as ``?token=`` once, then as a cookie, or as ``Authorization: Bearer``.
- A write is taken from our own pages alone, by the headers that browsers set and pages cannot
  (``Sec-Fetch-Site``, ``Origin``).
- Bodies are small, and are there as a whole before the application sees them.
- Every answer carries a policy under which no script, style, image or connection of others, and
  none written into a page, does anything: text of a model that slipped through would stay text.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from constitutional.errors import MissingExtraError

try:
    from starlette.requests import HTTPConnection
    from starlette.responses import RedirectResponse, Response
except ImportError as error:
    raise MissingExtraError(error.name or "fastapi", "web", "cai serve") from error

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
#: Whether a request without the token is let in at a path of its own.
Door = Callable[[HTTPConnection], bool]
#: The page that says why a request is refused, from a status and a sentence.
Refusal = Callable[[int, str], Response]

#: A longer body is refused; the longest form holds a message to a model.
MAX_BODY_BYTES = 64_000
#: Seconds that a body may take to arrive.
MAX_BODY_SECONDS = 10.0

#: No token is asked for here: nothing of a run is behind these.
OPEN = ("/static", "/warning")

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            # no script of ours writes markup, and none that came in could
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # not "no-referrer": under it browsers send "Origin: null" with our own forms
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:\d+)?")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class Guard:
    """ASGI middleware. ``hosts`` are further names to be answered to where there is no token.

    ``doors`` let requests at a path (and all below it) in without the token, such as a rater's with
    a link of their own.
    """

    def __init__(
        self,
        app: Application,
        *,
        refusal: Refusal,
        token: str | None = None,
        hosts: Iterable[str] = (),
        doors: Mapping[str, Door] | None = None,
    ):
        self._app, self._refusal, self._token = app, refusal, token
        self._hosts = {"localhost", "127.0.0.1", "::1", *(host.lower() for host in hosts)}
        self._doors = dict(doors or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or pass on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send)
        answer = self._answer(HTTPConnection(scope), scope["method"])
        body = await _whole(receive) if answer is None else None
        if body is not None:
            await self._app(scope, _replayed(body, receive), guarded)
            return
        too_long = f"A form holds at most {MAX_BODY_BYTES} bytes, and comes at once."
        await (answer or self._refusal(413, too_long))(scope, receive, guarded)

    def _answer(self, request: HTTPConnection, method: str) -> Response | None:
        """What is said instead of the page; None where the request is to be passed on."""
        if self._token is None and _host(request) not in self._hosts:
            return self._refusal(421, "This address is not served here. Use http://localhost.")
        if method not in _SAFE_METHODS and not _from_our_pages(request):
            return self._refusal(403, "This did not come from a page of ours, and was not done.")
        if self._token is None or _under(request.url.path, OPEN):
            return None
        return self._ask_for_token(request, method, self._token)

    def _ask_for_token(self, request: HTTPConnection, method: str, token: str) -> Response | None:
        name = cookie_name(token)
        shown = request.query_params.get("token")
        if shown is not None and method in _SAFE_METHODS and _same(shown, token):
            return _without_token(request, name, token)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if _same(request.cookies.get(name, ""), token) or _same(bearer, token):
            return None
        for path, door in self._doors.items():
            if _under(request.url.path, (path,)) and door(request):
                return None
        return self._refusal(401, "This needs the token that cai serve printed when it started.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``, a name or an address to listen at."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def cookie_name(token: str) -> str:
    """A name of its own for each token: ports of one machine share their cookies."""
    return f"cai_{hashlib.sha256(token.encode()).hexdigest()[:12]}"


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _host(request: HTTPConnection) -> str:
    """The name in the Host header, without port and brackets; empty where it is not well formed."""
    found = _HOST.fullmatch(request.headers.get("host", "").lower())
    return "" if found is None else found["address"] or found["name"]


def _from_our_pages(request: HTTPConnection) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin", "")
    return origin.partition("://")[2] == request.headers.get("host") and origin != ""


def _under(path: str, prefixes: Iterable[str]) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)


def _without_token(request: HTTPConnection, name: str, token: str) -> Response:
    """To the same page, with the token in a cookie and no longer in the address."""
    # one slash: two would be another machine
    path = "/" + quote(request.url.path.lstrip("/"))
    left = [(key, value) for key, value in parse_qsl(request.url.query) if key != "token"]
    answer = RedirectResponse(f"{path}?{urlencode(left)}" if left else path, status_code=303)
    secure = request.url.scheme == "https"
    answer.set_cookie(name, token, httponly=True, samesite="lax", secure=secure)
    return answer


async def _whole(receive: Receive) -> bytes | None:
    """The body; None where it is too long, or does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return bytes(body)
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    return None
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body first, and then waits for the end of the connection."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay


def _with_headers(send: Send) -> Send:
    """Adds what every answer carries; a page is not stored unless it says so itself."""
    always = [(key.lower().encode(), value.encode()) for key, value in HEADERS.items()]

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            if not any(key.lower() == b"cache-control" for key, _ in own):
                own.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*own, *always]}
        await send(message)

    return guarded
