"""A server of OpenAI's protocol that fails on purpose, in a process of its own.

    python tests/engines/http/faulty_server.py --faults 0.3 --latency 0.2

It prints its address, and answers until its standard input ends. Whether and how a request fails is
drawn by the request and how often that was asked, so that the same requests meet the same
faults whatever their order. ``GET /told`` tells how each request went (:class:`Told`).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.request import urlopen


class Reply:
    """Writes the answer to one request; ``patient`` as for :class:`FaultyServer`."""

    def __init__(self, writer: asyncio.StreamWriter, answer: dict[str, Any], patient: float = 0):
        self.writer, self.answer, self.patient = writer, answer, patient

    async def send(self, status: int, text: str, **headers: str) -> None:
        await self.write(status, text.encode(), len(text.encode()), **headers)

    async def write(self, status: int, data: bytes, length: int, **headers: str) -> None:
        """The head of an answer of ``length`` bytes, and the first of them."""
        lines = {"content-type": "application/json", "content-length": str(length)}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data)
        await self.writer.drain()


async def busy(reply: Reply) -> None:
    await reply.send(429, '{"error": {"message": "slow down"}}')


async def busy_for_a_while(reply: Reply) -> None:
    await reply.send(429, '{"error": {"message": "slow down"}}', retry_after="1")


async def broken(reply: Reply) -> None:
    await reply.send(500, "Internal Server Error", content_type="text/plain")


async def dropped(reply: Reply) -> None:
    reply.writer.transport.abort()


async def half(reply: Reply) -> None:
    data = json.dumps(reply.answer).encode()
    await reply.write(200, data[: len(data) // 2], len(data))
    reply.writer.close()


async def hang(reply: Reply) -> None:
    await asyncio.sleep(reply.patient)
    reply.writer.close()


async def drip(reply: Reply) -> None:
    """A byte in a while: each comes in time, and the last one never does."""
    data = json.dumps(reply.answer).encode()
    await reply.write(200, b"", len(data))
    for number in range(len(data) - 1):
        await asyncio.sleep(reply.patient / len(data))
        reply.writer.write(data[number : number + 1])
        await reply.writer.drain()
    reply.writer.close()


async def no_json(reply: Reply) -> None:
    await reply.send(200, json.dumps(reply.answer)[:-2] + ",,")


async def other_json(reply: Reply) -> None:
    await reply.send(200, json.dumps({"object": "list", "usage": reply.answer["usage"]}))


async def bare(reply: Reply) -> None:
    """No log-probabilities where they were asked for; else no account of the tokens."""
    answer = json.loads(json.dumps(reply.answer))
    if answer["choices"][0].pop("logprobs", None) is None:
        del answer["usage"]
    await reply.send(200, json.dumps(answer))


FAULTS: dict[str, Callable[[Reply], Awaitable[None]]] = {
    fault.__name__: fault
    for fault in (
        busy,
        busy_for_a_while,
        broken,
        dropped,
        half,
        hang,
        drip,
        no_json,
        other_json,
        bare,
    )
}


class Told(dict[str, Any]):
    """By request: ``tries``, how many were ``answered`` as a whole, and the ``faults`` in order."""


class FaultyServer:
    """A server on loopback.

    ``faults`` is the share of tries that fail, ``only`` the one fault or all of them, ``most`` how
    often a request fails at most. ``refused`` is the share of requests that fail always, with
    status 400. ``latency`` are the seconds that an answer takes, and ``patient`` those for which it
    hangs or drips before it hangs up.
    """

    def __init__(
        self,
        *,
        faults: float,
        refused: float,
        latency: float,
        patient: float,
        most: int,
        only: str | None,
    ):
        self.faults, self.refused, self.most = faults, refused, most
        self.latency, self.patient = latency, patient
        self.kinds = [only] if only else list(FAULTS)
        self.told: dict[str, Told] = defaultdict(lambda: Told(tries=0, answered=0, faults=[]))

    async def serve(self) -> None:
        """Until standard input ends."""
        server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        print(f"http://127.0.0.1:{port}/v1", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        os._exit(0)  # those that hang are not waited for

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                if head.startswith("get /told"):
                    await Reply(writer, {}).send(200, json.dumps(self.told))
                    continue
                length = int(head.split("content-length:")[1].split()[0])
                await self.answer(json.loads(await reader.readexactly(length)), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has hung up
        finally:
            writer.close()

    async def answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        asked = name_of(body)
        told = self.told[asked]
        told["tries"] += 1
        reply = Reply(writer, answer_to(body, asked), self.patient)
        if self.draw(asked).random() < self.refused:
            told["faults"].append("refused")
            await reply.send(400, '{"error": {"message": "this prompt is not answered"}}')
            return
        drawn = self.draw(asked, told["tries"])
        if drawn.random() < self.faults and told["tries"] <= self.most:
            fault = drawn.choice(self.kinds)
            told["faults"].append(fault)
            await FAULTS[fault](reply)
            return
        await asyncio.sleep(self.latency)
        await reply.send(200, json.dumps(reply.answer))
        told["answered"] += 1

    def draw(self, *what: object) -> random.Random:
        return random.Random(str(what))


class Running:
    """A server in a process of its own, until the block ends."""

    def __init__(self, **options: float | str):
        given = [f"--{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def told(self) -> dict[str, dict[str, Any]]:
        """How each request went so far."""
        with urlopen(self.url.replace("/v1", "/told"), timeout=30) as answer:
            found: dict[str, dict[str, Any]] = json.load(answer)
            return found

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def name_of(body: dict[str, Any]) -> str:
    """By what a request is known, here and in tests."""
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def answer_to(body: dict[str, Any], asked: str) -> dict[str, Any]:
    """The same words for the same request."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if body.get("logprobs"):
        weight = int(asked[:4], 16) / 65536
        top = {" (A)": -0.2 - weight, " (B)": -1.2 + weight}
        choice |= {"text": " (A)", "logprobs": {"top_logprobs": [top]}}
    else:
        choice["text"] = f" The answer to this is {asked}, which is all that there is to say."
    usage = {"prompt_tokens": len(body["prompt"]) // 4, "completion_tokens": 20}
    return {"choices": [choice], "usage": usage}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=float, default=0.3)
    parser.add_argument("--refused", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--patient", type=float, default=30.0)
    parser.add_argument("--most", type=int, default=10**9)
    parser.add_argument("--only", choices=FAULTS)
    asyncio.run(FaultyServer(**vars(parser.parse_args())).serve())
