from __future__ import annotations

import math
import subprocess
import sys

import pytest

from constitutional.engines import (
    Capabilities,
    ChatPrompt,
    Completion,
    Engine,
    Message,
    SamplingParams,
    ScriptedEngine,
    TextPrompt,
)
from constitutional.errors import EngineError

ASK = TextPrompt("Human: hello")
PARAMS = SamplingParams(10)


def test_a_function_sees_prompt_and_seed() -> None:
    engine = ScriptedEngine(lambda text, seed: f"{text} {seed}")
    assert isinstance(engine, Engine)
    texts = [c.text for c in engine.sample([ASK, ASK], PARAMS, [4, 5])]
    assert texts == ["Human: hello 4", "Human: hello 5"]
    assert [(r.prompt, r.seed) for r in engine.requests] == [(ASK, 4), (ASK, 5)]


def test_the_first_rule_found_applies() -> None:
    engine = ScriptedEngine({"hello": "hi", "Human": "what?", "never": "x"})
    prompts = [ASK, TextPrompt("Human: bye")]
    assert [c.text for c in engine.sample(prompts, PARAMS, [0, 0])] == ["hi", "what?"]
    with pytest.raises(EngineError, match="no rule for a prompt that ends in 'else'"):
        engine.sample([TextPrompt("else")], PARAMS, [0])


@pytest.mark.parametrize(
    ("reply", "params", "expected"),
    [
        (" a b c", SamplingParams(4), Completion(" a b c", "eos", 4)),
        (" a b c", SamplingParams(3), Completion(" a b c", "length", 3)),
        (" a b c", SamplingParams(2), Completion(" a b", "length", 2)),
        (
            " a b\n\nHuman: c",
            SamplingParams(9, stop=("\n\nHuman:",)),
            Completion(" a b", "stop", 3),
        ),
        (" a b STOP", SamplingParams(1, stop=("STOP",)), Completion(" a", "length", 1)),
        ("a y x", SamplingParams(9, stop=("x", "y")), Completion("a ", "stop", 2)),
        ("", SamplingParams(9), Completion("", "eos", 1)),
    ],
)
def test_texts_end_as_a_models_would(
    reply: str, params: SamplingParams, expected: Completion
) -> None:
    assert ScriptedEngine({"": reply}).sample([ASK], params, [0]) == [expected]


def test_choices() -> None:
    engine = ScriptedEngine({}, choices=lambda text, choices: [0.75, 0.0])
    assert engine.capabilities.logprobs
    assert engine.choice_logprobs([ASK], ["A", "B"]) == [(math.log(0.75), -math.inf)]
    assert engine.requests[0].choices == ("A", "B")
    with pytest.raises(EngineError, match="probabilities of 3 choices"):
        engine.choice_logprobs([ASK], ["A", "B", "C"])


def test_a_poorer_engine_can_be_played() -> None:
    assert not ScriptedEngine({}).capabilities.logprobs
    poor = Capabilities(logprobs=False, seeds=False)
    engine = ScriptedEngine(lambda _, s: str(s), choices=lambda *_: [1.0], capabilities=poor)
    with pytest.raises(EngineError, match="no log-probabilities"):
        engine.choice_logprobs([ASK], ["A"])
    assert [c.text for c in engine.sample([ASK, ASK], PARAMS, [7, 7])] == ["0", "1"]


def test_a_chat_is_seen_as_plain_blocks() -> None:
    engine = ScriptedEngine({"": "x"}, style="chat")
    messages = (Message("system", "Be kind."), Message("user", "hello"))
    engine.sample([ChatPrompt(messages), ChatPrompt(messages, "Well")], PARAMS, [0, 0])
    assert [r.text for r in engine.requests] == [
        "system: Be kind.\n\nuser: hello\n\nassistant:",
        "system: Be kind.\n\nuser: hello\n\nassistant: Well",
    ]


def test_the_fingerprint_follows_rules_and_version() -> None:
    prints = {
        ScriptedEngine(rules, version=version).fingerprint
        for rules in ({"a": "b"}, {"a": "c"})
        for version in "12"
    }
    assert len(prints) == 4
    assert ScriptedEngine({"a": "b"}).fingerprint in prints


def test_each_prompt_needs_a_seed() -> None:
    with pytest.raises(EngineError, match="1 prompts, 0 seeds"):
        ScriptedEngine({"": "x"}).sample([ASK], PARAMS, [])


def test_the_seam_is_light() -> None:
    code = "import sys, constitutional.engines; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
