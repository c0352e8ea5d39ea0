"""A key stands in no byte that a run writes or shows, whatever the server does with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from model_server import Fault, ModelServer, cuts_off, engine, says

from constitutional.engines.base import SamplingParams, TextPrompt
from constitutional.errors import EngineError, InputError

Cai = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]
#: With signs that an address cannot hold as they are.
KEY = "sk-planted/7Q+never=seen"
FORMS = [form.encode() for form in (KEY, quote(KEY, safe=""), KEY[:14])]


def sends_on(handler: Any) -> None:
    """A redirect that has the key in its address."""
    elsewhere = f"http://127.0.0.1:9/v1?key={quote(KEY, safe='')}"
    handler.reply(307, json.dumps({"error": KEY}), location=elsewhere)


def no_json(handler: Any) -> None:
    handler.reply(200, f'{{"you sent": "{KEY}"')


def other_json(handler: Any) -> None:
    handler.reply(200, json.dumps({"choices": KEY, KEY: [KEY]}))


def reads_it_out(handler: Any) -> None:
    """An answer like any other, of a model that was shown the key."""
    path, body = handler.server.requests[-1]
    answer = handler.server.answer(path, body)
    answer["choices"][0]["text"] = f" Your key is {KEY}. Keep it."
    answer["id"] = KEY
    handler.reply(200, json.dumps(answer))


#: Of which each run meets one.
ERRORS: list[tuple[list[Fault], str]] = [
    ([says(401, f"Incorrect API key provided: {KEY}")], "status 401"),
    ([says(500, KEY)] * 2, "status 500"),
    ([sends_on], "status 307"),
    ([no_json] * 2, "cannot be read"),
    ([other_json] * 2, "no choices"),
]
#: And the engine alone.
OTHERS: list[tuple[list[Fault], str]] = [
    ([says(400, f"what is {quote(KEY, safe='')}?")], "status 400"),
    ([says(403, "x" * 290 + KEY)], "status 403"),
    ([cuts_off] * 2, "broke off"),
]


def in_command_lines() -> bool:
    """Whether a process of this machine shows the key."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue  # it has ended
    return any(form in line for form in FORMS for line in found)


def test_no_byte_of_a_run_holds_the_key(
    cai: Cai,
    small_recipe: Write,
    server: ModelServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAR_KEY", KEY)
    prompts = {
        "red_team": {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 2},
        "helpful": {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 2},
    }
    far = {"engine": "openai", "model": "served", "base_url": server.url, "style": "transcript"}
    limits = {"retries": 1, "max_concurrency": 1, "max_failures": 0}
    recipe = small_recipe(
        prompts=prompts,
        supervised={"rounds": 1, "few_shots": 0, "max_new_tokens": 24},
        evaluation=None,
        models={"pretrained": "microworld:pretrained", "helpful": "far"},
        engines={"far": {**far, "api_key_env": "FAR_KEY", "limits": limits}},
    )
    out, said = tmp_path / "run", []
    for faults, told in ERRORS:
        server.faults += faults
        code, shown, error = cai("run", recipe, "--out", out)
        assert code == 2 and told in error
        assert not server.faults
        said += [shown, error]
    server.faults.append(reads_it_out)
    command = [sys.executable, "-c", "from constitutional.cli import main; main()"]
    command += ["run", str(recipe), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while process.poll() is None:
        assert not in_command_lines()
        try:
            said.append(process.communicate(timeout=0.2)[0].decode())
        except subprocess.TimeoutExpired:
            continue
    assert process.returncode == 0, said[-1]
    assert any("Your key is [key]." in path.read_text() for path in out.glob("stages/*/*.jsonl"))
    said += cai("report", out, "--out", tmp_path / "report.html")[1:]
    said += cai("show", out)[1:]

    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 15
    found = {path: path.read_bytes() for path in written}
    assert [p for p, data in found.items() if any(form in data for form in FORMS)] == []
    assert not any(form.decode() in text for form in FORMS for text in said)


@pytest.mark.parametrize(("faults", "told"), OTHERS)
def test_no_error_holds_the_key(
    faults: list[Fault], told: str, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_KEY", KEY)
    server.faults += faults
    with pytest.raises(EngineError, match=told) as caught:
        engine(server, api_key_env="FAR_KEY", limits={"retries": 1}).sample(
            [TextPrompt("Hi")], SamplingParams(8), [1]
        )
    assert not any(form.decode() in str(caught.value) for form in FORMS)


def test_no_prompt_and_no_key_follow_a_redirect(
    server: ModelServer, serve: Any, helpful: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_KEY", KEY)
    elsewhere = serve(*helpful)
    server.faults.append(
        lambda handler: handler.reply(  # type: ignore[attr-defined]
            307, "", location=f"{elsewhere.url}/completions"
        )
    )
    with pytest.raises(EngineError, match=r"status 307: it sends to http.*set that as base_url"):
        engine(server, api_key_env="FAR_KEY").sample([TextPrompt("Hi")], SamplingParams(8), [1])
    assert not elsewhere.requests


@pytest.mark.parametrize("key", [f"{KEY}\n", "sk with blanks", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(
    key: str, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "FAR_KEY", key)
    with pytest.raises(InputError, match="FAR_KEY holds a blank, a line break") as caught:
        engine(server, api_key_env="FAR_KEY")
    assert key.strip() not in str(caught.value)
