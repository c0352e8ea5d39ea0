"""``cai plan``: exact tokens, every recipe of the repository, what does not fit, wrong inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from constitutional.dialogue.tokens import prompt_ids
from constitutional.engines.local import LocalEngine
from constitutional.microworld import data_file
from constitutional.planning.amounts import Amount, amount, between, total
from constitutional.planning.hardware import GPU_TABLE, parse_gpus
from constitutional.planning.plan import Plan
from constitutional.planning.reading import plan_recipe
from constitutional.planning.speed import gpu_seconds
from constitutional.planning.work import Work
from constitutional.recipe import load_recipe

Cai = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
# those for real models are planned in tests/test_recipes.py, each for its own machine
RECIPES = [
    path
    for path in (*sorted((ROOT / "recipes").glob("*.yaml")), data_file("recipe.yaml"))
    if "cai plan" not in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_has_a_plan(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plan = plan_recipe(load_recipe(recipe), recipe.parent, gpus=parse_gpus("H100:8"))
    assert plan.stages and not plan.misfits
    for stage in plan.stages:
        assert stage.flops.value > 0
        assert stage.memory.peak.low > 0
        assert stage.seconds is not None and stage.seconds.value > 0
    assert plan.api_usd is None


def test_stages_are_those_of_the_run_and_known_tokens_are_exact(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = small_recipe(), tmp_path / "run"
    plan = plan_recipe(load_recipe(path), path.parent)
    read: list[tuple[int, int]] = []
    sample = LocalEngine.sample

    def counted(self: LocalEngine, prompts, params, seeds):  # type: ignore[no-untyped-def]
        found = sample(self, prompts, params, seeds)
        tokens = sum(len(prompt_ids(self._tokenizer, prompt)) for prompt in prompts)
        read.append((tokens, sum(c.tokens for c in found)))
        return found

    monkeypatch.setattr(LocalEngine, "sample", counted)
    assert cai("run", path, "--out", out)[0] == 0
    assert {stage.name for stage in plan.stages} == {p.name for p in (out / "stages").iterdir()}

    stages = {stage.name: stage for stage in plan.stages}
    known = sum(s.prompt_tokens.value for s in stages.values() if s.prompt_tokens.is_exact)
    # 3 blocks of 8 chains, 5 requests each: what comes after them is known before
    after = sum(tokens for tokens, _ in read[15:])
    assert known == after
    # of the requests of the chains all is known but what was written into them
    chains = stages["critique_revision"].prompt_tokens
    assert chains.low <= sum(tokens for tokens, _ in read[:15]) <= chains.high
    new = total(stage.new_tokens for stage in stages.values())
    assert new.low <= sum(written for _, written in read) <= new.high


def test_a_model_that_does_not_fit_and_what_makes_it_fit(
    small_recipe: Callable[..., Path],
) -> None:
    path = small_recipe()
    eight = ("microworld:pretrained=Qwen/Qwen3-8B", "microworld:helpful=Qwen/Qwen3-8B")

    def plan(gpu: str) -> Plan:
        return plan_recipe(load_recipe(path), path.parent, gpus=parse_gpus(gpu), shapes=eight)

    misfits = {misfit.stage: misfit for misfit in plan("H100").misfits}
    # 8.2 billion weights of 16 bytes are 131 GB; the 16 GB of the weights alone do fit
    assert "sl_cai" in misfits and "critique_revision" not in misfits
    assert misfits["sl_cai"].needs.value > 131e9
    assert "finetune.lora: {rank: 16}" in misfits["sl_cai"].remedies
    assert not plan("H100:8").misfits


def test_a_remedy_of_the_plan_does_fit(small_recipe: Callable[..., Path]) -> None:
    shapes = ("microworld:pretrained=Qwen/Qwen3-8B", "microworld:helpful=Qwen/Qwen3-8B")
    finetune = {"batch_size": 8, "lora": {"rank": 16}}
    path = small_recipe(finetune=finetune)
    gpus = parse_gpus("H100")
    plan = plan_recipe(load_recipe(path), path.parent, gpus=gpus, shapes=shapes)
    assert "sl_cai" not in {misfit.stage for misfit in plan.misfits}


def test_without_gpu_and_calibration_times_are_unknown_and_not_nothing(
    cai: Cai, small_recipe: Callable[..., Path]
) -> None:
    code, shown, _ = cai("plan", small_recipe(), "--json")
    assert code == 0
    plan = json.loads(shown)
    assert plan["hours"] is None and plan["api_usd"] is None
    assert all(stage["seconds"] is None for stage in plan["stages"])
    code, shown, _ = cai("plan", small_recipe())
    assert code == 0 and "Time: unknown" in shown and "--calibrate" in shown


def test_a_calibration_measures_lengths_and_times(
    cai: Cai, small_recipe: Callable[..., Path]
) -> None:
    code, shown, told = cai("plan", small_recipe(), "--calibrate", "--json")
    assert code == 0, told
    plan = json.loads(shown)
    assert 0 < plan["hours"]["low"] < plan["hours"]["value"] < plan["hours"]["high"] < 1
    replies = next(s for s in plan["stages"] if s["name"] == "helpful_replies")
    # the embedded model's replies are of a dozen words or two, and may have 48 tokens
    assert 8 * 24 < replies["new_tokens"]["value"] < 30 * 24


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--gpu", "H1000:8"), "H100"),
        (("--gpu", "H100:0"), "H100:8"),
        (("--gpu", "8xH100"), "H100:8"),
        (("--shape", "nothing"), "NAME=FILE"),
        (("--shape", "other/model=52B"), "other/model"),
        (("--shape", "microworld:helpful=63B"), "63B"),
    ],
)
def test_wrong_words_cost_a_sentence(
    cai: Cai, small_recipe: Callable[..., Path], words: tuple[str, ...], told: str
) -> None:
    code, _, error = cai("plan", small_recipe(), *words)
    assert code == 2
    assert told in error and len(error.splitlines()) == 1


def test_prompts_that_are_not_here_need_a_limit(
    small_recipe: Callable[..., Path], cai: Cai, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sets = {"red_team": {"file": "nobody/knows"}, "helpful": {"file": "nobody/knows", "limit": 9}}
    code, _, error = cai("plan", small_recipe(prompts=sets))
    assert code == 2
    assert "prompts.red_team" in error and "'limit'" in error


def test_a_file_that_is_missing_is_not_taken_for_one_on_the_hub(
    small_recipe: Callable[..., Path], cai: Cai
) -> None:
    sets = {"red_team": {"file": "sets/red.jsonl", "limit": 9}, "helpful": {"file": "h.jsonl"}}
    code, _, error = cai("plan", small_recipe(prompts=sets))
    assert code == 2 and "sets/red.jsonl" in error


def test_a_gpu_is_named_in_any_spelling() -> None:
    assert parse_gpus("a100-40gb:4").gpu == GPU_TABLE["A100-40GB"]
    assert parse_gpus("rtx 4090").count == 1


def test_gpu_time_by_hand() -> None:
    from constitutional.planning.shape import shape_of

    gpus = parse_gpus("H100:2")
    shape = shape_of("meta-llama/Llama-3.1-8B")
    work = Work(
        what="x",
        kind="train",
        model=shape,
        sequences=amount(1000),
        prompt=amount(1e6),
        longest=amount(1000),
        batch=8,
        autocast=True,
    )
    # 6 x 7.5 billion entries x 1e6 tokens, and attention: 3 x 4 x 32 x 4096 x 500.5 x 1e6
    flops = 6 * (32 * shape.matrices + 4096 * 128256) * 1e6 + 12 * 32 * 4096 * 500.5 * 1e6
    assert gpu_seconds(work, gpus).value == pytest.approx(flops / (2 * 989.4e12 * 0.33))


def test_amounts_add_and_multiply_their_ends() -> None:
    assert (between(1, 2, 3) + 1).ends == (2, 3, 4)
    assert (between(1, 2, 3) * between(0, 1, 2)).ends == (0, 2, 6)
    assert amount(4).is_exact and not between(1, 2, 3).is_exact
    with pytest.raises(ValueError, match="low <= value"):
        Amount(low=2, value=1, high=3)
