"""Engines that a recipe names: who they are for, what they cost, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from model_server import ModelServer, says

from constitutional.engines.vllm.settings import VllmSettings
from constitutional.errors import EngineError, MissingExtraError, RecipeError
from constitutional.inputs import load_inputs
from constitutional.inputs.models import ModelReader
from constitutional.microworld import data_file
from constitutional.recipe import Recipe, load_recipe
from constitutional.runs import QuietProgress, RunFolder, read_records
from constitutional.runs.records import Chain
from constitutional.stages.arms import ARMS
from constitutional.stages.comparisons import compare
from constitutional.stages.context import Context

Cai = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]
MODELS = {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"}
PRICES = {"prompt": 1.0, "completion": 2.0}


def served(server: ModelServer, **more: Any) -> dict[str, Any]:
    return {
        "engine": "openai",
        "model": "served",
        "base_url": server.url,
        "style": "transcript",
        **more,
    }


def chains(run: Path) -> list[Chain]:
    return list(read_records(run / "stages/critique_revision", Chain))


def test_a_run_with_its_helpful_model_behind_a_server_is_the_run_without(
    cai: Cai, small_recipe: Write, server: ModelServer, tmp_path: Path
) -> None:
    prompts = {
        "red_team": {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 8},
        "helpful": {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 8},
    }
    changes = {"prompts": prompts, "evaluation": None}
    assert cai("run", small_recipe(**changes), "--out", tmp_path / "here")[0] == 0
    far = small_recipe(
        **changes,
        models={**MODELS, "helpful": "far", "critic": "near"},
        engines={
            "far": served(server, prices=PRICES),
            "near": {"engine": "transformers", "model": "microworld:helpful"},
        },
    )
    out = tmp_path / "there"
    code, shown, told = cai("run", far, "--out", out)
    assert code == 0, told
    here, there = chains(tmp_path / "here"), chains(out)
    alike = [chain.model_copy(update={"engine": "", "critic": None}) for chain in here]
    assert [c.model_copy(update={"engine": "", "critic": None}) for c in there] == alike
    assert {(c.engine, c.critic) for c in there} == {("openai:served", "transformers:helpful")}
    assert {c.critic for c in here} == {None}

    # 8 prompts: a response and two revisions each; 8 prompts: two replies each
    usage = json.loads((out / "metrics.json").read_text())["usage"]
    assert usage["critique_revision"]["far"]["requests"] == 24
    assert usage["helpful_replies"]["far"]["requests"] == 16
    tokens = [sum(e["far"][key] for e in usage.values()) for key in _COUNTS]
    assert tokens[1] == sum(s.tokens for s in _sampled(there, out))
    usd = sum(engines["far"]["usd"] for engines in usage.values())
    assert usd == pytest.approx((tokens[0] * 1.0 + tokens[1] * 2.0) / 1e6)
    assert f"Engine far: 40 requests, {tokens[0]:,} prompt tokens" in " ".join(shown.split())


_COUNTS = ("prompt_tokens", "completion_tokens")


def _sampled(there: list[Chain], out: Path) -> list[Any]:
    from constitutional.runs.records import Reply

    replies = read_records(out / "stages/helpful_replies", Reply)
    return [s for c in there for s in c.versions] + [s for r in replies for s in r.responses]


def test_a_run_stopped_by_its_ceiling_keeps_what_is_finished_and_goes_on(
    cai: Cai, small_recipe: Write, server: ModelServer, tmp_path: Path
) -> None:
    def recipe(max_usd: float) -> Path:
        far = served(server, prices=PRICES, limits={"max_usd": max_usd, "max_concurrency": 1})
        models = {**MODELS, "helpful": "far"}
        return small_recipe(models=models, engines={"far": far}, evaluation=None)

    out = tmp_path / "run"
    code, _, told = cai("run", recipe(0.008), "--out", out)
    assert code == 2
    assert "engine 'far' (served) has cost 0.008" in told
    assert "raise max_usd and give the same command" in told
    finished = (out / "stages/critique_revision/records.jsonl").read_bytes()
    assert finished.count(b"\n") in (8, 16)  # whole blocks
    spent = json.loads((out / "usage.json").read_text())["critique_revision"]["far"]

    code, _, told = cai("run", recipe(0.008), "--out", out)
    assert code == 2  # what the first session cost still counts
    assert json.loads((out / "usage.json").read_text())["critique_revision"]["far"] == spent
    code, _, told = cai("run", recipe(5.0), "--out", out)
    assert code == 0, told
    assert (out / "stages/critique_revision/records.jsonl").read_bytes().startswith(finished)


def rl(tmp_path: Path, **changes: Any) -> Recipe:
    recipe = {
        "name": "labels",
        "constitution": "microworld:constitution.yaml",
        "models": MODELS,
        "prompts": {
            "red_team": {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 1},
            "helpful": {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 1},
        },
        "rl": {
            "comparisons": {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 6},
            "helpfulness": {
                "prompts": {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 1}
            },
            "pairs": {"max_new_tokens": 48},
            "red_team": {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 1},
            "helpful": {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 1},
        },
    }
    rl_changes = changes.pop("rl", {})
    data = {**recipe, **changes, "rl": {**recipe["rl"], **rl_changes}}  # type: ignore[dict-item]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_recipe(path)


def labels(recipe: Recipe, out: Path) -> list[Any]:
    inputs = load_inputs(recipe, Path())
    with RunFolder.open(out, recipe.model_dump(mode="json"), command="test") as run:
        context = Context(recipe, inputs, run, QuietProgress())
        helpful = data_file("helpful")
        return list(compare(context, ARMS["rl_cai"], helpful).harmlessness)


def test_a_feedback_model_behind_a_server_gives_the_labels_of_the_same_in_this_process(
    server: ModelServer, tmp_path: Path
) -> None:
    here = labels(rl(tmp_path, rl={"feedback_model": "helpful"}), tmp_path / "here")
    far = {"engines": {"judge": served(server)}, "rl": {"feedback_model": "judge"}}
    there = labels(rl(tmp_path, **far), tmp_path / "there")
    assert [(c.a, c.b) for c in there] == [(c.a, c.b) for c in here]
    found = [c.prob_a for c in there if c.prob_a is not None]
    assert len(found) > 2
    assert found == pytest.approx([c.prob_a for c in here if c.prob_a is not None], abs=1e-4)
    assert {c.labeller for c in there} == {"openai:served"}
    with_cot = {"feedback_model": "judge", "feedback": {"cot": True, "few_shots": 0}}
    reasoned = labels(rl(tmp_path, engines=far["engines"], rl=with_cot), tmp_path / "cot")
    assert {c.labeller for c in reasoned} == {"openai:served"}


def test_blocks_that_are_finished_survive_a_server_that_fails(
    server: ModelServer, tmp_path: Path
) -> None:
    recipe = rl(tmp_path, engines={"judge": served(server)}, rl={"feedback_model": "judge"})
    recipe = recipe.model_copy(update={"block": 2})
    whole = labels(recipe, tmp_path / "whole")
    n = len(server.requests)
    server.faults += [answers] * (n - 1) + [says(400, "gone")]
    with pytest.raises(EngineError, match="gone"):
        labels(recipe, tmp_path / "broken")
    asked = len(server.requests)
    assert labels(recipe, tmp_path / "broken") == whole
    assert len(server.requests) - asked < n


def answers(handler: Any) -> None:
    """No fault: the answer that the request would have got."""
    path, body = handler.server.requests[-1]
    handler.reply(200, json.dumps(handler.server.answer(path, body)))


@pytest.mark.parametrize(
    ("changes", "line", "says"),
    [
        (
            {"engines": {"judge": {"engine": "openai", "model": "m"}}},
            "judge",
            "section 'judge' needs the key 'base_url'",
        ),
        (
            {"engines": {"judge": {"engine": "opnai", "model": "m"}}},
            "judge",
            "'engine' of 'judge' must be one of transformers, openai, vllm, found 'opnai'",
        ),
        ({"engines": {"judge": {"model": "m"}}}, "judge", "'judge' needs the key 'engine'"),
        (
            {"engines": {"judge": {"engine": "transformers", "model": "m", "base_url": "x"}}},
            "base_url",
            "unknown key 'base_url' in section 'judge'",
        ),
        (
            {"engines": {"j": {"engine": "openai", "model": "m", "base_url": "x", "limit": {}}}},
            "    limit:",
            "unknown key 'limit' in section 'j'; did you mean 'limits'?",
        ),
        (
            {
                "engines": {
                    "j": {
                        "engine": "openai",
                        "model": "m",
                        "base_url": "http://h/v1",
                        "limits": {"max_us": 1},
                    }
                }
            },
            "max_us",
            "unknown key 'max_us' in section 'limits'; did you mean 'max_usd'?",
        ),
        (
            {"engines": {"helpful": {"engine": "transformers", "model": "m"}}},
            "  helpful:\n    engine",
            "cannot be called 'helpful'",
        ),
        (
            {"engines": {"judge": {"engine": "transformers", "model": "m"}}},
            "judge",
            "nothing uses engine 'judge'",
        ),
        (
            {
                "engines": {"far": {"engine": "transformers", "model": "m"}},
                "models": {**MODELS, "pretrained": "far"},
            },
            "pretrained",
            "'pretrained' is trained and has to be a model folder",
        ),
        ({"rl": {"feedback_model": "judg"}}, "feedback_model", "must be pretrained, helpful or"),
        (
            {"models": {**MODELS, "critic": "x"}, "supervised": {"critique": False}},
            "critic",
            "has no critiques",
        ),
    ],
)
def test_what_is_wrong_with_engines_is_said_with_its_line(
    tmp_path: Path, changes: dict[str, Any], line: str, says: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        rl(tmp_path, **changes)
    assert says in str(caught.value)
    text = (tmp_path / "recipe.yaml").read_text()
    assert caught.value.line == text[: text.rindex(line)].count("\n") + 1


def test_a_missing_key_and_an_engine_without_place_for_a_system_prompt(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    engines = {"judge": served(server, api_key_env="JUDGE_KEY")}
    recipe = rl(tmp_path, engines=engines, rl={"feedback_model": "judge"})
    with pytest.raises(Exception, match="JUDGE_KEY"):
        load_inputs(recipe, Path())
    engines = {"judge": {"engine": "transformers", "model": "microworld:helpful", "system": "x"}}
    recipe = rl(tmp_path, engines=engines, rl={"feedback_model": "judge"})
    with pytest.raises(Exception, match="engine 'judge' reads transcripts"):
        load_inputs(recipe, Path())


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_an_engine_of_vllm_is_refused_where_it_is_not_installed(tmp_path: Path) -> None:
    local = {"engine": "vllm", "model": "microworld:helpful", "lora": "adapter"}
    (tmp_path / "adapter").mkdir()
    recipe = rl(tmp_path, engines={"judge": local}, rl={"feedback_model": "judge"})
    with pytest.raises(MissingExtraError, match=r"vllm.*pip install 'constitutional\[vllm\]'"):
        load_inputs(recipe, tmp_path)
    found = ModelReader(recipe, tmp_path).engines()["judge"]
    assert isinstance(found, VllmSettings)
    assert found.model == str(data_file("helpful"))
    assert found.lora == str(tmp_path / "adapter")


def test_a_changed_system_prompt_or_model_is_another_input(
    server: ModelServer, tmp_path: Path
) -> None:
    def hashes(**more: Any) -> dict[str, str]:
        engines = {"judge": served(server, style="chat", **more)}
        judge = {
            "red_team": {"file": "microworld:prompts/evaluation_red_team.jsonl", "limit": 1},
            "helpful": {"file": "microworld:prompts/evaluation_helpful.jsonl", "limit": 1},
            "ai_judge": {"model": "judge"},
        }
        return load_inputs(rl(tmp_path, engines=engines, evaluation=judge), Path()).hashes

    plain = hashes()
    assert hashes(limits={"max_concurrency": 2}, prices=PRICES) == plain
    for changed in ({"system": "x"}, {"model": "y"}, {"base_url": "http://other/v1"}):
        assert hashes(**changed)["engines.judge"] != plain["engines.judge"]


def test_a_new_context_begins_with_what_the_run_has_cost(
    server: ModelServer, tmp_path: Path
) -> None:
    far = served(server, prices=PRICES, limits={"max_usd": 1e-9})
    recipe = rl(tmp_path, engines={"judge": far}, rl={"feedback_model": "judge"})
    with pytest.raises(EngineError, match="max_usd"):
        labels(recipe, tmp_path / "run")
    asked = len(server.requests)
    with pytest.raises(EngineError, match="max_usd"):
        labels(recipe, tmp_path / "run")
    assert len(server.requests) == asked
