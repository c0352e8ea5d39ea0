"""Plans of models behind servers, and of what else a recipe for real models takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constitutional.planning.hardware import parse_gpus
from constitutional.planning.plan import Plan, StagePlan
from constitutional.planning.reading import plan_recipe
from constitutional.recipe import load_recipe

Recipe = Callable[..., Path]
RED_TEAM = {"file": "microworld:prompts/preference_red_team.jsonl", "limit": 6}
HELPFUL = {"file": "microworld:prompts/preference_helpful.jsonl", "limit": 6}
MODELS = {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"}
PRICES = {"prompt": 2.0, "completion": 10.0}


def rl(**more: Any) -> dict[str, Any]:
    return {
        "comparisons": dict(RED_TEAM),
        "pairs": {"max_new_tokens": 16},
        "feedback": {"few_shots": 0},
        "helpfulness": {"prompts": dict(HELPFUL)},
        "red_team": dict(RED_TEAM),
        "helpful": dict(HELPFUL),
        "ppo": {"steps": 2, "batch_size": 4, "minibatch_size": 2},
        **more,
    }


def server(**more: Any) -> dict[str, Any]:
    return {
        "engine": "openai",
        "model": "Qwen/Qwen3-8B",
        "base_url": "http://localhost:9/v1",
        "style": "transcript",
        **more,
    }


def plan(path: Path, gpu: str = "H100") -> Plan:
    return plan_recipe(load_recipe(path), path.parent, gpus=parse_gpus(gpu))


def stages(found: Plan) -> dict[str, StagePlan]:
    return {stage.name: stage for stage in found.stages}


def test_a_price_is_that_of_the_tokens(small_recipe: Recipe) -> None:
    models = {**MODELS, "helpful": "big"}
    found = plan(small_recipe(models=models, engines={"big": server(prices=PRICES)}))
    by_name = stages(found)
    asked = [by_name[n] for n in ("critique_revision", "helpful_replies", "answers_helpful")]
    read = sum(stage.prompt_tokens.value for stage in asked)
    new = sum(stage.new_tokens.value for stage in asked)
    assert found.api_usd is not None
    assert found.api_usd.value == pytest.approx((2 * read + 10 * new) / 1e6)
    assert "engine 'big' reads" in found.api
    # what is bought takes no memory here and none of these GPUs' time
    for stage in asked:
        assert stage.memory.peak.value == 0
        assert stage.seconds is not None and stage.seconds.value == 0


def test_a_server_of_ones_own_takes_time_and_no_money(small_recipe: Recipe) -> None:
    models = {**MODELS, "helpful": "big"}
    found = plan(small_recipe(models=models, engines={"big": server()}))
    local = {**MODELS, "helpful": "Qwen/Qwen3-8B"}
    here = plan_recipe(
        load_recipe(small_recipe(models={**local, "helpful": "microworld:helpful"})),
        small_recipe().parent,
        gpus=parse_gpus("H100"),
        shapes=["microworld:helpful=Qwen/Qwen3-8B"],
    )
    assert found.api_usd is None and "without prices" in found.api
    one, other = stages(found)["critique_revision"], stages(here)["critique_revision"]
    assert one.seconds is not None and one.seconds == other.seconds
    assert one.memory.peak.value == 0 < other.memory.peak.value
    assert any("its time is counted as on these GPUs" in note for note in found.notes)


def test_a_model_that_nobody_knows_is_still_priced(small_recipe: Recipe) -> None:
    models = {**MODELS, "helpful": "big"}
    engines = {"big": server(model="some-hosted-model", prices=PRICES)}
    found = plan(small_recipe(models=models, engines=engines))
    assert found.api_usd is not None and found.api_usd.value > 0
    assert stages(found)["critique_revision"].flops.value == 0


def test_critic_and_feedback_model_are_counted_as_themselves(small_recipe: Recipe) -> None:
    engines = {"large": server(server="vllm", prices=PRICES)}
    path = small_recipe(
        models={**MODELS, "critic": "large"},
        engines=engines,
        rl=rl(feedback_model="large"),
    )
    found = plan(path)
    plain = plan(small_recipe(rl=rl()))
    # responses and revisions stay here
    assert stages(found)["critique_revision"].seconds is not None
    assert stages(found)["critique_revision"].flops.value > 0
    assert stages(found)["helpful_replies"] == stages(plain)["helpful_replies"]
    critiques = 24 * 2
    questions = stages(plain)["comparisons_ai"].requests.value - 2 * 6
    assert found.api_usd is not None
    # each critique may have 48 tokens and is taken to have half of them; a choice has one
    written = critiques * 24 + questions
    assert found.api_usd.high > written * 10 / 1e6
    assert f"writes {written:.3g}" in found.api


def test_a_choice_takes_as_many_requests_as_its_server_needs(small_recipe: Recipe) -> None:
    def usd(**more: Any) -> float:
        engines = {"large": server(prices=PRICES, **more)}
        recipe = small_recipe(engines=engines, rl=rl(feedback_model="large"))
        found = plan(recipe).api_usd
        assert found is not None
        return found.value

    vllm = usd(server="vllm")
    assert usd() == pytest.approx(2 * vllm), "letter by letter"
    assert usd(choices="votes") == pytest.approx(5 * vllm)


def test_an_engine_here_has_the_shape_of_its_model(small_recipe: Recipe) -> None:
    engines = {"other": {"engine": "transformers", "model": "microworld:helpful"}}
    found = plan(small_recipe(models={**MODELS, "helpful": "other"}, engines=engines))
    plain = plan(small_recipe())
    assert found.api_usd is None
    assert stages(found)["helpful_replies"].flops == stages(plain)["helpful_replies"].flops


def test_human_comparisons_that_are_not_here_are_counted_by_their_limit(
    small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def trained(limit: int) -> float:
        path = small_recipe(rl=rl(helpfulness={"preset": "hh-rlhf", "limit": limit}))
        return stages(plan(path))["preference_model_rl_cai"].trained_tokens.value

    # each has two texts of a prompt and an answer (210 tokens), a tenth is held out
    assert trained(300) - trained(100) == pytest.approx(200 * 2 * 210 * 0.9)


def test_the_rows_of_a_step_are_shared_out_over_gpus(small_recipe: Recipe) -> None:
    path = small_recipe(finetune={"batch_size": 8})
    one, eight = (stages(plan(path, gpu))["sl_cai"].memory for gpu in ("H100", "H100:8"))
    assert eight.activations.value == pytest.approx(one.activations.value / 8)


def test_a_laptop_computes_in_float32(small_recipe: Recipe) -> None:
    path = small_recipe()
    laptop, gpu = (stages(plan(path, name))["helpful_replies"] for name in ("laptop-CPU", "H100"))
    assert laptop.memory.weights.value == 2 * gpu.memory.weights.value
    assert plan(path, "laptop-CPU").device_hours is None


def test_what_is_held_whole_is_not_divided(small_recipe: Recipe) -> None:
    def weights(**more: Any) -> dict[str, float]:
        found = stages(plan(small_recipe(rl=rl(), **more), "H100:2"))
        return {name: stage.memory.weights.value for name, stage in found.items()}

    divided = weights()
    trainings = ("sl_cai", "preference_model_rl_cai", "rl_cai")
    ddp = weights(training={"processes": 2})
    sharded = weights(training={"processes": 2, "config": "fsdp2"})
    for name in trainings:
        assert ddp[name] == pytest.approx(2 * divided[name]), name
    for name in ("sl_cai", "preference_model_rl_cai"):
        assert sharded[name] == pytest.approx(divided[name]), name
    assert sharded["rl_cai"] == pytest.approx(ddp["rl_cai"]), "PPO keeps whole weights"
    assert ddp["comparisons_ai"] == pytest.approx(divided["comparisons_ai"])
    actors = weights(execution="ray", ray={"gpus": 1})
    assert actors["comparisons_ai"] == pytest.approx(2 * divided["comparisons_ai"])


def test_recomputed_activations_take_less_memory_and_another_forward_pass(
    small_recipe: Recipe,
) -> None:
    def sl_cai(**more: Any) -> StagePlan:
        return stages(plan(small_recipe(finetune={"batch_size": 8, **more})))["sl_cai"]

    kept, again = sl_cai(), sl_cai(gradient_checkpointing=True)
    assert again.memory.activations.value < kept.memory.activations.value
    assert again.memory.weights == kept.memory.weights
    assert again.flops.value == pytest.approx(kept.flops.value * 4 / 3)
