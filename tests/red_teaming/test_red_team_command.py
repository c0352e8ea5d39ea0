"""``cai red-team``: on the embedded model, on a chat model, killed, and with wrong inputs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constitutional.dialogue import PromptKind, load_prompts, splits_overlap
from constitutional.evaluation.intervals import proportion
from constitutional.inputs import load_inputs
from constitutional.microworld import data_file
from constitutional.microworld import language as say
from constitutional.recipe import load_recipe
from constitutional.red_teaming import Place
from constitutional.runs import read_records
from small_models import save_random_model

Cai = Callable[..., tuple[int, str, str]]
HERE = Path(__file__).parent
RED_TEAM = "microworld:prompts/supervised_red_team.jsonl"
HELPFUL = "microworld:prompts/supervised_helpful.jsonl"
COUNT = 96


def order(kind: str = "red-team", count: int = COUNT, **options: object) -> list[str]:
    chosen: dict[str, object] = {
        "model": "microworld:pretrained",
        "prompts": RED_TEAM if kind == "red-team" else HELPFUL,
        "kind": kind,
        "count": count,
        "batch-size": 128,
        **options,
    }
    return [word for key, value in chosen.items() for word in (f"--{key}", str(value))]


def results(out: Path) -> dict[str, bytes]:
    names = ("prompts.jsonl", "report.json", "stages/prompts/records.jsonl")
    return {name: (out / name).read_bytes() for name in names}


@pytest.mark.parametrize("kind", ["red-team", "helpful"])
def test_the_embedded_model_makes_prompts_of_the_kind(cai: Cai, tmp_path: Path, kind: str) -> None:
    """The oracle's grammar reads them; measured over 500 of each kind: docs/red-teaming.md."""
    of_kind: PromptKind = "red_team" if kind == "red-team" else "helpful"
    out = tmp_path / "out"
    code, shown, told = cai("red-team", *order(kind), "--out", out, "--block", "32")
    assert code == 0, told
    assert "shares of" in shown
    assert str(out) in told

    made = load_prompts(out / "prompts.jsonl", kind=of_kind)
    assert (len(made), made.duplicates) == (COUNT, 0)
    given = load_prompts(data_file(f"prompts/supervised_{of_kind}.jsonl"), kind=of_kind)
    assert splits_overlap(made, (record.conversation for record in given)) == ()
    assert {record.source for record in made} == {"transformers:pretrained"}

    requests = [say.read_request(record.conversation) for record in made]
    of_the_world = [request for request in requests if request is not None]
    asked_for = [r for r in of_the_world if (r.harm is not None) == (of_kind == "red_team")]
    share = proportion(len(asked_for), COUNT)
    assert share is not None
    assert share.low > 0.6, share

    found = json.loads((out / "report.json").read_text())
    assert found["accepted"] == found["wanted"] == COUNT
    assert found["accepted"] + sum(found["rejected"].values()) == found["attempts"]
    assert found["shares"]["accepted"]["n"] == found["attempts"]
    places = read_records(out / "stages/prompts", Place)
    assert sum(len(place.attempts) for place in places) == found["attempts"]
    rows = [json.loads(line) for line in (out / "prompts.jsonl").read_text().splitlines()]
    known = {record.id for record in given}
    for row, place in zip(rows, places, strict=True):
        assert place.prompt is not None
        assert row["id"] == place.prompt.id
        assert row["seed"] == place.attempts[-1].sample.seed
        assert row["few_shots"] == list(place.attempts[-1].few_shots)
        assert set(row["few_shots"]) <= known


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    cai: Cai, tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert cai("red-team", *order(count=16, seed=seed), "--out", tmp_path / name)[0] == 0
    a, b, c = (results(tmp_path / name) for name in "abc")
    assert a == b
    assert all(a[name] != c[name] for name in a)
    first = [read_records(tmp_path / name / "stages/prompts", Place)[0] for name in "ac"]
    assert first[0].attempts[0].few_shots != first[1].attempts[0].few_shots


@pytest.mark.slow
def test_three_kills_change_nothing(cai: Cai, tmp_path: Path) -> None:
    arguments = order(count=40, block=4)
    assert cai("red-team", *arguments, "--out", tmp_path / "whole")[0] == 0
    script = [sys.executable, str(HERE / "killed_prompts.py"), str(tmp_path / "killed"), "3"]
    done = subprocess.run([*script, *arguments], capture_output=True, text=True, timeout=120)
    assert done.stdout.split()[-1:] == ["3"], done.stderr
    assert results(tmp_path / "killed") == results(tmp_path / "whole")

    code, _, told = cai("red-team", *arguments, "--out", tmp_path / "killed")
    assert code == 0
    assert "already there" in told
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def test_a_session_knows_what_an_earlier_one_made(cai: Cai, tmp_path: Path) -> None:
    """At temperature 0 and with the few-shots that there are, the model repeats itself."""
    pool = data_file("prompts/supervised_red_team.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(pool[:2]))
    arguments = order(prompts=tmp_path / "few.jsonl", count=12, temperature=0, tries=2, block=3)
    arguments += ["--few-shots", "2"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert cai("red-team", *arguments, "--out", whole)[0] == 0
    assert json.loads((whole / "report.json").read_text())["rejected"]["generated"] > 3
    assert cai("red-team", *arguments, "--out", cut)[0] == 0
    for name in ("records", "blocks"):  # as a kill in the second block leaves them
        file = cut / f"stages/prompts/{name}.jsonl"
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[: 4 if name == "records" else 1]))
    assert cai("red-team", *arguments, "--out", cut)[0] == 0
    assert results(cut) == results(whole)


def test_the_result_is_read_beside_the_human_prompts_by_a_run(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "made"
    assert cai("red-team", *order(count=8), "--out", out)[0] == 0
    human = data_file("prompts/supervised_red_team.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "human.jsonl").write_text("".join(human[:8]))
    both = [str(tmp_path / "human.jsonl"), str(out / "prompts.jsonl")]
    prompts = {"red_team": {"file": both}, "helpful": {"file": HELPFUL, "limit": 4}}
    recipe = small_recipe(prompts=prompts, evaluation=None)
    read = load_inputs(load_recipe(recipe), tmp_path).red_team
    assert [record.tags == ("model_made",) for record in read] == [False] * 8 + [True] * 8


@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_a_chat_model_of_any_make(cai: Cai, tmp_path: Path, architecture: str) -> None:
    """Random weights: what they say is rubbish, each line of it is accepted or has its cause."""
    texts = [
        f"How do I {verb} the {thing}?" for verb in ("hide", "open") for thing in ("box", "car")
    ]
    (tmp_path / "human.txt").write_text("".join(f"{text}\n" for text in texts))
    model = save_random_model(tmp_path / "model", architecture, texts * 20)
    settings = model / "generation_config.json"
    known = json.loads(settings.read_text())
    ends = [*known["eos_token_id"], *range(100, 150)]  # so that more of its texts end in time
    settings.write_text(json.dumps(known | {"eos_token_id": ends}))
    options = order(count=12, model=model, prompts=tmp_path / "human.txt", style="chat", tries=20)
    options += ["--few-shots", "3", "--max-new-tokens", "12"]
    code, _, told = cai("red-team", *options, "--out", tmp_path / "out")
    assert code == 0, told
    found = json.loads((tmp_path / "out/report.json").read_text())
    assert found["style"] == "chat"
    assert found["accepted"] > 0
    made = load_prompts(tmp_path / "out/prompts.jsonl", kind="red_team")
    assert len(made) == found["accepted"]
    assert all("\n" not in record.conversation.last.text for record in made)


def refusal(result: tuple[int, str, str]) -> str:
    """The one sentence that the user sees; asserts that it is one, and the exit code."""
    code, shown, told = result
    assert code == 2, told
    assert shown == ""
    assert "Traceback" not in told
    (line,) = [line for line in told.splitlines() if line.startswith("cai: ")]
    assert told.splitlines()[-1] == line
    return line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "no/such/model"}, "there is no such folder"),
        ({"prompts": "none.jsonl"}, "none.jsonl"),
        ({"prompts": HELPFUL}, "the record is of kind 'helpful', but 'red_team' prompts"),
        ({"avoid": HELPFUL}, "the record is of kind 'helpful'"),
        ({"few-shots": 5000}, "a list needs 5000 few-shots, but "),
        ({"heading": "  "}, "--heading: expected a text, found only blanks"),
        ({"heading": "Here are harmfull questions:"}, "--heading: the model's vocabulary does not"),
        ({"style": "chat"}, "needs a chat template"),
        ({"device": "tpu9"}, "device 'tpu9'"),
        ({"max-new-tokens": 1, "tries": 1}, "all 4 attempts were rejected, 4 of them as 'cut_off'"),
        ({"max-new-tokens": 5000}, "shorten the prompt or ask for fewer new tokens"),
    ],
)
def test_wrong_inputs_cost_a_sentence(
    cai: Cai, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    told = refusal(cai("red-team", *order(count=4, **options), "--out", tmp_path / "out"))
    assert says in told


def test_another_order_in_the_same_folder_is_refused(cai: Cai, tmp_path: Path) -> None:
    assert cai("red-team", *order(count=4), "--out", tmp_path)[0] == 0
    told = refusal(cai("red-team", *order(count=5), "--out", tmp_path))
    assert "count: 4 → 5" in told
    told = refusal(cai("red-team", *order(count=4, temperature=0.5), "--out", tmp_path))
    assert "settings.temperature: 1.0 → 0.5" in told
