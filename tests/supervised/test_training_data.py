from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from constitutional.dialogue import Conversation
from constitutional.dialogue.shape import Flag
from constitutional.runs.records import Chain, Reply, Round, Sample, TrainingExample
from constitutional.supervised.training_data import export_messages, training_examples

ALL_FLAGS: tuple[Flag, ...] = ("empty", "looped", "role_marker", "cut_off")


def sample(text: str, *flags: Flag, ended: Literal["eos", "length"] = "eos") -> Sample:
    return Sample(text=text, ended=ended, tokens=1, seed=0, flags=flags)


def chain(*revisions: Sample, name: str = "q", response: Sample | None = None) -> Chain:
    return Chain(
        id=name,
        prompt=Conversation.of("One?", "Two.", "Three?"),
        response=response or sample("draft"),
        rounds=tuple(
            Round(principle="p", critique=sample("bad"), revision=revision)
            for revision in revisions
        ),
        engine="e",
        constitution="c",
    )


def reply(*responses: Sample) -> Reply:
    return Reply(id="h", prompt=Conversation.of("Help?"), responses=responses, engine="e")


def last_texts(examples: list[TrainingExample]) -> list[str]:
    return [example.conversation.last.text for example in examples]


def test_revisions_of_all_rounds_and_helpful_responses() -> None:
    """Neither the first response nor a critique."""
    examples = list(
        training_examples(
            [chain(sample("v1"), sample("v2"), sample("v3"))], [reply(sample("a"), sample("b"))]
        )
    )
    assert [(e.id, e.source) for e in examples] == [
        ("q/revision-1", "revision"),
        ("q/revision-2", "revision"),
        ("q/revision-3", "revision"),
        ("h/response-1", "helpful"),
        ("h/response-2", "helpful"),
    ]
    assert last_texts(examples) == ["v1", "v2", "v3", "a", "b"]
    assert examples[0].conversation == Conversation.of("One?", "Two.", "Three?", "v1")
    assert examples[3].conversation == Conversation.of("Help?", "a")


@pytest.mark.parametrize("flag", ALL_FLAGS)
def test_flagged_texts_are_left_out(flag: Flag) -> None:
    examples = list(
        training_examples(
            [chain(sample("v1"), sample("v2", flag), sample("v3"))],
            [reply(sample("a", flag), sample("b"))],
        )
    )
    assert [e.id for e in examples] == ["q/revision-1", "q/revision-3", "h/response-2"]


def test_the_last_revision_alone() -> None:
    """Where the last is flagged, the last that is not; a chain without any gives none."""
    chains = [
        chain(sample("v1"), sample("v2")),
        chain(sample("w1"), sample("w2", "empty")),
        chain(sample("", "empty")),
    ]
    examples = list(training_examples(chains, [], revisions="last"))
    assert last_texts(examples) == ["v2", "w1"]


def test_unchanged_revisions_stay_in() -> None:
    (only,) = training_examples([chain(sample("draft"))], [])
    assert only.conversation.last.text == "draft"


def test_a_broken_response_or_critique_leaves_the_revision_in() -> None:
    made = chain(sample("v1"), response=sample("", "empty"))
    assert len(list(training_examples([made], []))) == 1


ODD = 'line\nbreak, \u2028, "quotes", ünï'


def test_export_is_one_json_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    export_messages(training_examples([chain(sample("v1"), sample(ODD))], []), path)
    rows = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    assert rows[0] == {
        "id": "q/revision-1",
        "source": "revision",
        "messages": [
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three?"},
            {"role": "assistant", "content": "v1"},
        ],
    }
    assert rows[1]["messages"][-1]["content"] == ODD
    assert len(rows) == 2


def test_export_is_read_by_datasets_and_trl(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    trl = pytest.importorskip("trl")
    path = tmp_path / "data.jsonl"
    export_messages(training_examples([chain(sample("v1"))], [reply(sample("a"))]), path)
    data = datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert data.column_names == ["id", "source", "messages"]
    assert data[1]["messages"] == [
        {"role": "user", "content": "Help?"},
        {"role": "assistant", "content": "a"},
    ]
    assert trl.is_conversational(data[0])
