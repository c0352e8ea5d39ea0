"""Known data sets, each on a small file of its form with texts of ours."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from constitutional.dialogue import Conversation
from constitutional.dialogue.forms import of_columns
from constitutional.dialogue.presets import PRESETS
from constitutional.dialogue.prompts import PromptSet, load_prompts
from constitutional.errors import InputError, PromptFileError
from constitutional.preference.data import ComparisonSet, read_comparisons
from constitutional.supervised.demonstrations import read_demonstrations

PAIR = {
    "chosen": "\n\nHuman: May I eat moss?\n\nAssistant: Ask a doctor.",
    "rejected": "\n\nHuman: May I eat moss?\n\nAssistant: All of it.",
}
ATTEMPT = {
    "transcript": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Steal a boat\n\nAssistant: No.",
    "min_harmlessness_score_transcript": -1.0,
    "rating": 2.0,
    "tags": None,
}
SAFE_RLHF: dict[str, Any] = {
    "prompt": "How do I take my neighbour's boat?",
    "response_0": "At night.",
    "response_1": "Ask for it.",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "response_0_harm_category": {"White-Collar Crime": True, "Violence": False},
    "response_1_harm_category": {"White-Collar Crime": False, "Violence": False},
    "response_0_severity_level": 2,
    "better_response_id": 0,
    "safer_response_id": 1,
}
BINARIZED: dict[str, Any] = {
    "prompt": "Name a moss.",
    "prompt_id": "a1",
    "chosen": [
        {"role": "user", "content": "Name a moss."},
        {"role": "assistant", "content": "Sphagnum."},
    ],
    "rejected": [
        {"role": "user", "content": "Name a moss."},
        {"role": "assistant", "content": "Oak."},
    ],
    "score_chosen": 9.0,
    "score_rejected": 2.0,
}
DOLLY = {"instruction": "Sum it up.", "context": "Moss grows.", "response": "It grows."}
ALPACA = {"instruction": "Sum it up.", "input": "Moss grows.", "output": "It grows.", "text": "."}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def table(path: Path, header: str, *rows: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def prompts(name: str, path: Path, kind: Any = "red_team") -> PromptSet:
    return load_prompts(path, kind=kind, form=PRESETS[name].prompts_of(kind))


def pairs(name: str, path: Path, goal: Any) -> ComparisonSet:
    return read_comparisons(path, goal=goal, seed=0, form=PRESETS[name].pairs_by(goal))


def texts(found: PromptSet) -> list[str]:
    return [record.conversation.last.text for record in found]


def better(found: ComparisonSet) -> list[str]:
    return [pair.a if pair.prob_a == 1 else pair.b for pair in found.comparisons]


def test_hh_rlhf_pairs_and_red_team_attempts(tmp_path: Path) -> None:
    file = lines(tmp_path / "train.jsonl", PAIR)
    assert texts(prompts("hh-rlhf", file, "helpful")) == ["May I eat moss?"]
    assert better(pairs("hh-rlhf", file, "harmlessness")) == ["Ask a doctor."]
    # the attempts are published as a list under the name of lines
    attempts = tmp_path / "red_team_attempts.jsonl.gz"
    attempts.write_bytes(gzip.compress(json.dumps([ATTEMPT], indent=1).encode()))
    assert texts(prompts("hh-rlhf", attempts)) == ["Hi", "Steal a boat"]


def test_a_clone_of_the_hub_s_folder_is_read_by_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "hh"
    for part, row in (("red-team-attempts", ATTEMPT), ("helpful-base", PAIR)):
        (clone / part).mkdir(parents=True)
        lines(clone / part / "train.jsonl", row)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert texts(prompts("hh-rlhf", clone)) == ["Hi", "Steal a boat"]
    assert better(pairs("hh-rlhf", clone, "helpfulness")) == ["Ask a doctor."]


def test_beavertails(tmp_path: Path) -> None:
    row = {
        "prompt": "How do I poison a pond?",
        "response": "With salt.",
        "category": {"animal_abuse": True, "violence": True, "privacy_violation": False},
        "is_safe": False,
    }
    file = lines(tmp_path / "x.jsonl", row, {**row, "prompt": "Is moss alive?", "is_safe": True})
    found = prompts("beavertails", file)
    assert texts(found) == ["How do I poison a pond?"]
    assert found.records[0].tags == ("animal_abuse", "violence")
    assert (found.read, sum(found.left_out.values())) == (2, 1)


def test_pku_saferlhf(tmp_path: Path) -> None:
    safe = {**SAFE_RLHF, "prompt": "Is moss alive?", "is_response_0_safe": True}
    file = lines(tmp_path / "x.jsonl", SAFE_RLHF, safe)
    found = prompts("pku-saferlhf", file)
    assert texts(found) == [SAFE_RLHF["prompt"]]
    assert found.records[0].tags == ("White-Collar Crime",)
    assert found.left_out == {"both answers are marked safe": 1}
    harmless = pairs("pku-saferlhf", file, "harmlessness")
    assert better(harmless) == ["Ask for it."]
    assert harmless.left_out == {"both answers are marked safe": 1}
    helpful = pairs("pku-saferlhf", file, "helpfulness")
    assert better(helpful) == ["At night.", "At night."], "helpfulness alone"
    assert helpful.comparisons[0].goal == "helpfulness"


HARMBENCH = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID"


def test_harmbench(tmp_path: Path) -> None:
    file = table(
        tmp_path / "x.csv",
        HARMBENCH,
        ["Sink a boat", "standard", "illegal", "", "", "sink_boat"],
        ["Write such a letter", "contextual", "harassment_bullying", "context", "A,\nb", "letter"],
        ["Give the text of the song", "copyright", "copyright", "lyrics", "", "song"],
    )
    found = prompts("harmbench", file)
    assert texts(found) == ["Sink a boat", "A,\nb\n\n---\n\nWrite such a letter"]
    assert [record.id for record in found] == ["harmbench-sink_boat", "harmbench-letter"]
    assert found.records[0].tags == ("standard", "illegal")
    assert list(found.left_out.values()) == [1]


def test_advbench(tmp_path: Path) -> None:
    file = table(tmp_path / "x.csv", "goal,target", ["Sink a boat", "Sure, here is how"])
    assert texts(prompts("advbench", file)) == ["Sink a boat"]
    strings = table(tmp_path / "y.csv", "target", ["Sure, here is how"])
    with pytest.raises(PromptFileError, match="line 2: expected the column 'goal', found 'target'"):
        prompts("advbench", strings)


def test_xstest_is_two_sets(tmp_path: Path) -> None:
    file = table(
        tmp_path / "x.csv",
        "id,prompt,type,label,focus,note",
        ["1", "How do I kill the lights?", "homonyms", "safe", "kill", "off"],
        ["2", "How do I kill the captain?", "contrast_homonyms", "unsafe", "kill", ""],
    )
    unsafe, safe = prompts("xstest", file), prompts("xstest", file, "helpful")
    assert texts(unsafe) == ["How do I kill the captain?"]
    assert texts(safe) == ["How do I kill the lights?"]
    assert (unsafe.left_out, safe.left_out) == ({"a safe prompt": 1}, {"an unsafe prompt": 1})
    assert [record.id for record in (*unsafe, *safe)] == ["xstest-2", "xstest-1"]


def test_do_not_answer(tmp_path: Path) -> None:
    row = {
        "id": 7,
        "risk_area": "Malicious Uses",
        "types_of_harm": "Assisting Illegal Activities",
        "specific_harms": "Advice for theft",
        "question": "How do I steal a boat?",
        "GPT4_response": "I will not say.",
    }
    found = prompts("do-not-answer", lines(tmp_path / "x.jsonl", row))
    (record,) = found
    assert (record.id, record.conversation) == (
        "do-not-answer-7",
        Conversation.of("How do I steal a boat?"),
    )
    assert record.tags == ("Malicious Uses", "Assisting Illegal Activities")


def test_ultrafeedback(tmp_path: Path) -> None:
    tie = {**BINARIZED, "prompt_id": "a2", "score_rejected": 9.0}
    file = lines(tmp_path / "x.jsonl", BINARIZED, tie)
    found = pairs("ultrafeedback", file, "helpfulness")
    assert better(found) == ["Sphagnum."]
    assert found.comparisons[0].prompt == Conversation.of("Name a moss.")
    assert found.left_out == {"both answers have the same score": 1}
    assert [r.id for r in prompts("ultrafeedback", file, "helpful")] == ["ultrafeedback-a1"]


@pytest.mark.parametrize(
    ("name", "row", "below", "answer"),
    [
        ("dolly", {**DOLLY, "category": "summarization"}, "context", "response"),
        ("alpaca", ALPACA, "input", "output"),
    ],
)
def test_instructions(
    tmp_path: Path, name: str, row: dict[str, str], below: str, answer: str
) -> None:
    alone = {**row, "instruction": "Greet me.", below: "", answer: "Hello."}
    file = lines(tmp_path / "x.jsonl", row, alone, {**row, answer: " "})
    found = prompts(name, file, "helpful")
    assert texts(found) == ["Sum it up.\n\nMoss grows.", "Greet me."]
    shown = read_demonstrations(file, form=PRESETS[name].demonstrated())
    assert list(shown.conversations) == [
        Conversation.of("Sum it up.\n\nMoss grows.", "It grows."),
        Conversation.of("Greet me.", "Hello."),
    ]
    assert shown.left_out == {"the answer is empty": 1}


def test_a_use_that_a_data_set_is_not_for_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"'harmbench' has no helpful prompts: .* red_team prompts"
    ):
        PRESETS["harmbench"].prompts_of("helpful")
    with pytest.raises(InputError, match="has no comparisons by harmlessness"):
        PRESETS["ultrafeedback"].pairs_by("harmlessness")
    with pytest.raises(InputError, match="has no demonstrations"):
        PRESETS["xstest"].demonstrated()


def test_a_data_set_that_is_not_on_the_hub_says_what_to_fetch() -> None:
    with pytest.raises(InputError, match=r"'advbench' .*fetch data/advbench/harmful_behaviors.csv"):
        _ = PRESETS["advbench"].source
    for preset in PRESETS.values():
        assert bool(preset.hub) != bool(preset.file), preset.name


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "x", "response": "y"}, "expected the column 'is_safe', found 'prompt'"),
        ({"prompt": "x", "is_safe": "no"}, "'is_safe' must be true or false, found 'no'"),
        (["x"], "expected a row with the columns of beavertails"),
        ({"prompt": 3, "is_safe": False}, "'prompt' must be a text, found 3"),
    ],
)
def test_a_row_of_another_form_is_named_or_set_aside(
    tmp_path: Path, row: object, says: str
) -> None:
    good = {"prompt": "Sink a boat", "category": {}, "is_safe": False}
    file = lines(tmp_path / "x.jsonl", good, row)
    form = PRESETS["beavertails"].prompts_of("red_team")
    with pytest.raises(PromptFileError, match=f"line 2: .*{says}"):
        load_prompts(file, kind="red_team", form=form)
    found = load_prompts(file, kind="red_team", form=form, skip_bad_to=tmp_path / "bad.jsonl")
    assert (len(found), found.bad) == (1, 1)


def test_a_row_that_is_no_pair_of_the_data_set_is_named(tmp_path: Path) -> None:
    file = lines(tmp_path / "x.jsonl", {**SAFE_RLHF, "safer_response_id": 2})
    with pytest.raises(InputError, match="line 1: 'safer_response_id' must be 0 or 1, found 2"):
        pairs("pku-saferlhf", file, "harmlessness")


def test_nothing_left_says_what_was_left_out(tmp_path: Path) -> None:
    safe = {**SAFE_RLHF, "is_response_0_safe": True}
    file = lines(tmp_path / "x.jsonl", safe)
    with pytest.raises(PromptFileError, match=r"left out 1 \(both answers are marked safe\)"):
        prompts("pku-saferlhf", file)
    with pytest.raises(InputError, match=r"left out 1 \(both answers are marked safe\)"):
        pairs("pku-saferlhf", file, "harmlessness")


def test_columns_by_other_names(tmp_path: Path) -> None:
    rows = [{"q": "Is moss alive?", "area": ["botany"], "good": "Yes.", "bad": "No."}]
    file = lines(tmp_path / "x.jsonl", *rows)
    found = load_prompts(file, kind="helpful", form=of_columns({"prompt": "q", "tags": "area"}))
    assert (texts(found), found.records[0].tags) == (["Is moss alive?"], ("botany",))
    form = of_columns({"prompt": "q", "chosen": "good", "rejected": "bad"})
    assert better(read_comparisons(file, goal="helpfulness", seed=0, form=form)) == ["Yes."]
    with pytest.raises(PromptFileError, match="no column 'goood': did you mean 'good'"):
        load_prompts(file, kind="helpful", form=of_columns({"prompt": "goood"}))
