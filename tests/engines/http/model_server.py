"""A server of OpenAI's protocol over a model in this process, with faults on request.

It answers like vLLM (``vllm=True``: ``/tokenize``, ``logprob_token_ids``, ``/generative_scoring``,
begun answers) or like a plain server. The endpoints for decisions have the forms of vLLM 0.33.0 and
openai 3.52, but no prompt of their own: the options are weighed after the text. Log-probabilities
come from one forward pass of the model, not from the engine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import pytest
import torch

from constitutional.dialogue.tokens import prompt_ids
from constitutional.engines.base import ChatPrompt, Message, SamplingParams, TextPrompt
from constitutional.engines.http import OpenAIEngine, OpenAISettings
from constitutional.engines.local import LocalEngine

Fault = Callable[[BaseHTTPRequestHandler], None]


class ModelServer(ThreadingHTTPServer):
    """Serve with :meth:`start`; ``faults`` are met by the next requests, one each."""

    daemon_threads = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        vllm: bool = False,
        logprobs: bool = True,
        top: int = 20,
        max_model_len: int = 1024,
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.tokenizer = model, tokenizer
        self.engine = LocalEngine(model, tokenizer, name="served")
        self.vllm, self.logprobs, self.top = vllm, logprobs, top
        self.max_model_len = max_model_len
        self.faults: deque[Fault] = deque()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.busy = self.most_busy = 0
        self.one_at_a_time = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def start(self) -> ModelServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}).start()
        return self

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that hung up is part of the tests."""

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/tokenize":
            assert self.vllm
            return {"tokens": self.ids(body)}
        if path == "/generative_scoring":
            assert self.vllm
            return self.generative_scoring(body)
        if path in ("/v1/decisions", "/v1/systemone"):
            return self.decide(path, body)
        ids = self.ids(body)
        is_chat = path == "/v1/chat/completions"
        limit = body.get("max_tokens") or body["max_completion_tokens"]
        if body.get("logprobs"):
            text, reason, made = "?", "length", 1
        else:
            text, reason, made = self.sample(body, limit)
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason, "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        if body.get("logprobs") and self.logprobs:
            choice["logprobs"] = self.likeliest(ids, body, is_chat)
        usage = {"prompt_tokens": len(ids), "completion_tokens": made}
        return {"choices": [choice], "usage": usage | {"total_tokens": len(ids) + made}}

    def ids(self, body: dict[str, Any]) -> list[int]:
        if isinstance(body.get("prompt"), list):
            return list(body["prompt"])
        return prompt_ids(self.tokenizer, self.prompt(body))

    def prompt(self, body: dict[str, Any]) -> TextPrompt | ChatPrompt:
        if "prompt" in body:
            return TextPrompt(body["prompt"])
        messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
        if body.get("continue_final_message"):
            assert body["add_generation_prompt"] is False
            return ChatPrompt(messages[:-1], messages[-1].content)
        if not self.vllm and messages[-1].role == "assistant":
            return ChatPrompt(messages[:-1], messages[-1].content)
        return ChatPrompt(messages)

    def sample(self, body: dict[str, Any], limit: int) -> tuple[str, str, int]:
        params = SamplingParams(limit, body["temperature"], tuple(body.get("stop", ())))
        made = self.engine.sample([self.prompt(body)], params, [body.get("seed", 0)])[0]
        return made.text, "length" if made.ended == "length" else "stop", made.tokens

    def generative_scoring(self, body: dict[str, Any]) -> dict[str, Any]:
        """As `vllm/entrypoints/generate/generative_scoring/serving.py` of vLLM 0.29.0 does it."""
        labels, items = body["label_token_ids"], body["items"]
        assert labels and items
        # longer prompts are cut short without a word
        prompts = [(body["query"] + item)[: self.max_model_len - 1] for item in items]
        data = []
        for index, prompt in enumerate(prompts):
            chosen = self.scores(prompt)[labels]
            shares = chosen.softmax(-1) if body.get("apply_softmax", True) else chosen.exp()
            data.append({"index": index, "object": "score", "score": float(shares[0])})
        read = sum(map(len, prompts))
        usage = {"prompt_tokens": read, "completion_tokens": len(items)}
        usage["total_tokens"] = read + len(items)
        answer = {"id": "g", "object": "list", "created": 1, "model": body["model"]}
        return {**answer, "data": data[::-1], "usage": usage}

    def decide(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        systemone = path == "/v1/systemone"
        (asked,) = body["questions"].values() if systemone else body["questions"]
        assert asked["type"] == "choice" and asked["instructions"]
        names = [*asked["criteria"]] if systemone else [each["value"] for each in asked["choices"]]
        ids = prompt_ids(self.tokenizer, TextPrompt(body["state" if systemone else "input"]))
        options = [self.tokenizer.encode(f" {name}", add_special_tokens=False) for name in names]
        shares = self.scores(ids)[[option[0] for option in options]].softmax(-1).tolist()
        usage: dict[str, Any] = {"input_tokens": len(ids), "output_tokens": 0}
        best = names[shares.index(max(shares))]
        answer = {"type": "choice", "choice": best, "confidence": max(shares)}
        if systemone:
            answer["probabilities"] = dict(zip(names, shares, strict=True))
            (name,) = body["questions"]
            return {"model": body["model"], "answers": {name: answer}, "usage": usage}
        answer["name"] = asked["name"]
        answer["probabilities"] = [
            {"value": name, "probability": share} for name, share in zip(names, shares, strict=True)
        ]
        usage["input_tokens_details"] = {"cached_tokens": 0, "cache_write_tokens": 0}
        usage["output_tokens_details"] = {"reasoning_tokens": 0}
        usage["total_tokens"] = len(ids)
        return {"model": body["model"], "answers": [answer], "usage": usage}

    def scores(self, ids: list[int]) -> torch.Tensor:
        """Log-probabilities (vocabulary,) of the next token."""
        with torch.inference_mode():
            logits = self.model(torch.tensor([ids])).logits[0, -1].double()
        return torch.log_softmax(logits, dim=-1)

    def likeliest(self, ids: list[int], body: dict[str, Any], is_chat: bool) -> dict[str, Any]:
        scores = self.scores(ids)
        if wanted := body.get("logprob_token_ids"):
            assert body["logprobs"] and body["return_tokens_as_token_ids"]
            chosen = {f"token_id:{i}": float(scores[i]) for i in wanted}
        else:
            asked = body["top_logprobs"] if is_chat else body["logprobs"]
            found = scores.topk(min(asked, self.top, len(scores))).indices.tolist()
            chosen = {self.tokenizer.decode([i]): float(scores[i]) for i in found}
        if not is_chat:
            return {"top_logprobs": [chosen], "tokens": ["?"], "token_logprobs": [0.0]}
        each = [{"token": token, "logprob": value} for token, value in chosen.items()]
        return {"content": [{**each[0], "top_logprobs": each}]}


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.path, body))
        self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
        if self.server.faults:
            self.server.faults.popleft()(self)
            return
        self.server.busy += 1
        self.server.most_busy = max(self.server.busy, self.server.most_busy)
        try:
            with self.server.one_at_a_time:
                answer = self.server.answer(self.path, body)
        except Exception as error:  # a test should see what it did wrong
            self.reply(400, json.dumps({"error": {"message": repr(error)}}))
            return
        finally:
            self.server.busy -= 1
        self.reply(200, json.dumps(answer))

    def reply(self, status: int, text: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text.encode())))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def says(status: int, message: str = "no", **headers: str) -> Fault:
    """An answer with an error status."""
    text = json.dumps({"error": {"message": message, "code": headers.pop("code", None)}})
    return lambda handler: handler.reply(status, text, **headers)  # type: ignore[attr-defined]


def hangs(seconds: float) -> Fault:
    """No answer for a while."""
    return lambda _: time.sleep(seconds)


def cuts_off(handler: BaseHTTPRequestHandler) -> None:
    """Half an answer, and the connection is closed."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def settings(url: str, **changes: Any) -> OpenAISettings:
    """Settings of an engine for transcripts."""
    plain = {"engine": "openai", "model": "served", "base_url": url, "style": "transcript"}
    return OpenAISettings.model_validate({**plain, **changes})


class HasAddress(Protocol):
    @property
    def url(self) -> str: ...


def engine(at: HasAddress, **changes: Any) -> OpenAIEngine:
    """The engine of a server."""
    return OpenAIEngine(settings(at.url, **changes))


def require(package: str) -> None:
    """Skip without a package of the extra ``dev``; in CI that is a failure."""
    if importlib.util.find_spec(package) is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"{package} is not installed: it comes with constitutional[dev]")
