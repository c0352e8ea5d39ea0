"""Revisions that are damaged on purpose: what each kind does, and what of it is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from constitutional.constitution import load_constitution
from constitutional.dialogue.tokens import encode_example
from constitutional.engines import ScriptedEngine
from constitutional.engines.loading import load_tokenizer
from constitutional.evaluation.behaviour import damage_counts, flag_counts
from constitutional.microworld import data_file
from constitutional.microworld.prompts import prompt_files
from constitutional.planning.amounts import Amount
from constitutional.planning.reading import plan_recipe
from constitutional.recipe import load_recipe
from constitutional.runs import read_records
from constitutional.runs.records import Chain, Damage, Reply, Sample
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.damage import damaged, drawn_damage
from constitutional.supervised.settings import CritiqueRevisionConfig, DamageConfig
from constitutional.supervised.training_data import training_examples

Cai = Callable[..., tuple[int, str, str]]
TEXT = "I will not help you kick your dog. It is cruel, because it hurts your dog."
SAMPLE = Sample(text=TEXT, ended="eos", tokens=32, seed=7)


def spoilt(kind: Damage, sample: Sample = SAMPLE) -> Sample:
    found = damaged(sample, kind, request="Is there anything cruel?", limit=64)
    assert found is not None
    return found


def test_a_repeated_sentence_fills_the_limit_and_is_caught() -> None:
    found = spoilt("repeat")
    sentence = "It is cruel, because it hurts your dog."
    assert found.text.startswith(TEXT) and found.text.endswith(f"{sentence} {sentence}")
    assert found.ended == "length" and 48 <= found.tokens <= 64
    assert "cut_off" in found.flags


def test_a_cut_in_the_middle_and_word_salad_have_no_fault_of_form() -> None:
    cut, salad = spoilt("truncate"), spoilt("shuffle")
    assert TEXT.startswith(cut.text) and 0 < len(cut.text) < len(TEXT)
    assert cut.tokens < SAMPLE.tokens and cut.ended == "eos" and cut.usable
    assert sorted(salad.text.split()) == sorted(TEXT.split()) and salad.text != TEXT
    assert salad.usable


def test_the_next_request_in_a_text_is_caught() -> None:
    found = spoilt("leak")
    assert found.text == f"{TEXT}\n\nCritique Request: Is there anything cruel?"
    assert found.flags == ("role_marker",)


@pytest.mark.parametrize("text", ["", "No."])
def test_what_has_no_two_words_is_left_as_it_is(text: str) -> None:
    short = SAMPLE.model_copy(update={"text": text})
    assert damaged(short, "shuffle", request="", limit=64) is None


def test_the_share_is_drawn_by_seed_for_each_record_and_round() -> None:
    config = DamageConfig(share=0.3)
    drawn = [drawn_damage(config, 0, str(n), 1) for n in range(2000)]
    assert drawn == [drawn_damage(config, 0, str(n), 1) for n in range(2000)]
    assert drawn != [drawn_damage(config, 0, str(n), 2) for n in range(2000)]
    assert drawn != [drawn_damage(config, 1, str(n), 1) for n in range(2000)]
    # four standard errors of a share of 2000, and of each kind's quarter of it
    assert abs(sum(kind is not None for kind in drawn) / 2000 - 0.3) < 0.041
    for kind in config.kinds:
        assert abs(drawn.count(kind) / 2000 - 0.075) < 0.024
    assert drawn_damage(None, 0, "1", 1) is None


def chains(damage: DamageConfig | None) -> list[Chain]:
    prompts = prompt_files(0)["supervised_red_team.jsonl"][:40]
    constitution = load_constitution(data_file("constitution.yaml"))
    config = CritiqueRevisionConfig(
        rounds=2, few_shots=0, critique=False, max_new_tokens=64, damage=damage
    )

    def script(text: str, seed: int) -> str:
        return f" {TEXT}" if text.endswith("Revision:") else " Sure, kick your dog."

    return CritiqueRevision(ScriptedEngine(script), constitution, config, 0).chains(prompts)


def test_records_say_what_was_done_and_the_rest_is_as_it_was() -> None:
    plain, spoiled = chains(None), chains(DamageConfig(share=0.5))
    done = 0
    for before, after in zip(plain, spoiled, strict=True):
        for old, new in zip(before.rounds, after.rounds, strict=True):
            done += new.damage is not None
            assert (new.damage is None) == (new.revision.text == old.revision.text)
    counts = damage_counts(spoiled)
    assert sum(found["revisions"] for found in counts.values()) == done > 20
    caught = {kind: found["caught"].value for kind, found in counts.items()}
    assert caught == {"leak": 1.0, "repeat": 1.0, "shuffle": 0.0, "truncate": 0.0}
    assert damage_counts(plain) == {}


def test_what_is_caught_is_trained_on_where_the_recipe_says_so() -> None:
    spoiled = chains(DamageConfig(share=0.5, kinds=("leak",)))
    kept = list(training_examples(spoiled, []))
    all_ = list(training_examples(spoiled, [], flagged="train"))
    assert len(all_) == 80
    assert len(kept) == 80 - flag_counts(spoiled)["left_out"] < 60
    assert flag_counts(spoiled, trained=True)["left_out"] == 0
    leaked = [e for e in all_ if "Critique Request:" in e.conversation.last.text]
    assert len(leaked) == 80 - len(kept)
    first = spoiled[0].rounds[0]
    failed = first.revision.model_copy(update={"ended": "failed", "flags": ("failed",), "text": ""})
    lost = spoiled[0].model_copy(
        update={"rounds": (first.model_copy(update={"revision": failed}),)}
    )
    assert not list(training_examples([lost], [], flagged="train"))


def test_a_run_tells_what_was_damaged_and_what_was_caught(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    supervised = {
        **{"rounds": 1, "critique": False, "few_shots": 0, "max_new_tokens": 48},
        "damage": {"share": 0.6, "kinds": ["repeat", "shuffle"]},
    }
    finetune = {"learning_rate": 3e-4, "batch_size": 8, "flagged": "train"}
    path = small_recipe(supervised=supervised, finetune=finetune, evaluation=None)
    plan = plan_recipe(load_recipe(path), path.parent)
    code, shown, told = cai("run", path, "--out", out)
    assert code == 0, told
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["damage"]) == {"repeat", "shuffle"}
    assert metrics["damage"]["repeat"]["caught"]["value"] == 1.0
    assert metrics["revisions"]["left_out"] == 0
    assert "Revisions damaged on purpose, for a study: repeat" in shown
    rows = (out / "stages/sl_cai/result/training_data.jsonl").read_text().splitlines()
    assert len(rows) == 24 + 2 * 12
    made = read_records(out / "stages/critique_revision", Chain)
    replies = read_records(out / "stages/helpful_replies", Reply)
    tokenizer = load_tokenizer(str(data_file("pretrained")))
    tokens = sum(
        len(encode_example(tokenizer, example.conversation, "transcript", 2**31).input_ids)
        for example in training_examples(made, replies, flagged="train")
    )
    stage = next(s for s in plan.stages if s.name == "sl_cai")
    assert stage.trained_tokens.low <= tokens <= stage.trained_tokens.high


def test_the_plan_counts_what_is_caught_as_left_out(small_recipe: Callable[..., Path]) -> None:
    def trained(**changes: object) -> Amount:
        supervised = {"rounds": 2, "few_shots": 0, "max_new_tokens": 48}
        finetune = {"batch_size": 8}
        for key, value in changes.items():
            (supervised if key == "damage" else finetune)[key] = value  # type: ignore[assignment]
        path = small_recipe(supervised=supervised, finetune=finetune, evaluation=None)
        plan = plan_recipe(load_recipe(path), path.parent)
        return next(s for s in plan.stages if s.name == "sl_cai").trained_tokens

    plain, seen = trained(), {"share": 1.0, "kinds": ["shuffle"]}
    assert trained(damage=seen) == plain, "no gate sees it"
    assert trained(damage={"share": 0.5, "kinds": ["leak"]}).value < plain.value
    assert trained(flagged="train").low > plain.low
    # two revisions of a chain, of which the last alone is trained on
    assert trained(revisions="last").value < plain.value
    looping = {"share": 1.0, "kinds": ["repeat"]}
    assert trained(damage=looping, flagged="train").value > trained(flagged="train").value
    assert trained(damage=looping).value < trained(damage=looping, flagged="train").value


def test_a_wrong_damage_is_refused(cai: Cai, small_recipe: Callable[..., Path]) -> None:
    for changes, says in (
        ({"damage": {"share": 0}}, "share"),
        ({"damage": {"share": 0.2, "kinds": ["leak", "leak"]}}, "names one twice"),
        ({"damage": {"share": 0.2, "kinds": ["burn"]}}, "kinds"),
    ):
        code, _, told = cai("run", small_recipe(supervised=changes))
        assert code == 2 and says in told, told
        assert "recipe.yaml, line " in told
