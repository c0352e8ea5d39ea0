from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from constitutional.constitution import default_constitution, load_constitution, save_constitution
from constitutional.constitution.files import read_few_shots
from constitutional.constitution.formats import FORMATS, judge_prompt
from constitutional.dialogue.transcript import few_shot_prefix
from constitutional.errors import ConstitutionFileError

CRITIQUES = {
    "harmful0": {
        "prompt": ["\n\nCritiqueRequest:  Find faults.\n\nCritique:"],
        "edit_request": "\n\nRevisionRequest: Mend them. \n\nRevision:",
    },
    "harmful7": {
        "prompt": ["\n\nCritiqueRequest: Why?\n\nCritique:"],
        "edit_request": "\n\nRevisionRequest: So.\n\nRevision:",
    },
}
CHAT = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "more"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "find faults"},
    {"role": "assistant", "content": "a fault"},
    {"role": "user", "content": "mend"},
    {"role": "assistant", "content": "mended"},
]
CHAIN = (
    "\n\nHuman: q\n\nAssistant: a\n\nCritiqueRequest: cr\n\nCritique: c"
    "\n\nRevisionRequest: rr\n\nRevision: r"
)
COT = (
    "\n\nHuman: Judge this talk:\n\nH: hi\n\nA:  yes?\n\nH: why\n\n{}"
    "\n (A) [[[one]]]\n (B) [[[two\n\nlines]]]"
    "\n\nAssistant: Thinking:\nB says more.\n\nHuman:\nTherefore: (B)"
)
SAMPLES: dict[str, Any] = {
    "official-critiques": CRITIQUES,
    "official-comparisons": ["\nWhich is kinder? Options:", "\n two  blanks Options:"],
    "official-critique-few-shots": [CHAIN + "\n\nHuman:", CHAIN, CHAIN + "\n\nHuman:"],
    "official-comparison-few-shots": [
        {"prompt": "\n\nHuman: q\n\nAssistant:", "corrects": [" good"], "incorrects": ["bad\n"]}
    ],
    "official-cot-few-shots": [{"prompt": COT}, {"prompt": COT.lstrip()}],
    "nemo-few-shots": {"samples": [CHAT, CHAT]},
    "llm-swarm": {
        "constitutions": [{"critic": "find faults ", "revision": "mend"}],
        "system_chat": [CHAT],
    },
}


def round_trip(source: Path, format: str) -> Any:
    """The JSON that comes out when a file is read and written again in its format."""
    if "few-shots" in format:
        c = default_constitution().with_few_shots(read_few_shots(source))
    else:
        c = load_constitution(source)
    target = source.with_name("out.json")
    # By way of the native format, which must not lose anything either.
    save_constitution(c, target)
    save_constitution(load_constitution(target), target, format)
    return json.loads(target.read_text(encoding="utf-8"))


@pytest.mark.parametrize("format", SAMPLES)
def test_read_and_written_again_nothing_changes(tmp_path: Path, format: str) -> None:
    source = tmp_path / "in"
    source.write_text(json.dumps(SAMPLES[format]))
    assert round_trip(source, format) == SAMPLES[format]


OFFICIAL_FILES = {
    "official-critiques": "CritiqueRevisionInstructions.json",
    "official-comparisons": "RLMadisonInstructions.json",
    "official-critique-few-shots": "CritiqueRevisionFewShotPrompts.json",
    "official-comparison-few-shots": "RLMadisonFewShotPrompts.json",
    "official-cot-few-shots": "RLMadisonPrecogFewShotPrompts.json",
}


@pytest.mark.parametrize("format", OFFICIAL_FILES)
def test_official_files_come_back(official: Path, tmp_path: Path, format: str) -> None:
    source = tmp_path / "in.json"
    source.write_bytes((official / OFFICIAL_FILES[format]).read_bytes())
    found, wanted = round_trip(source, format), json.loads(source.read_text(encoding="utf-8"))
    assert found == wanted
    # Equal dicts may differ in order, and samples refer to the keys in order.
    assert json.dumps(found) == json.dumps(wanted)


def test_official_lists_serve_their_own_stage(official: Path) -> None:
    critiques = load_constitution(official / OFFICIAL_FILES["official-critiques"])
    comparisons = load_constitution(official / OFFICIAL_FILES["official-comparisons"])
    assert (len(critiques.critiquing), len(critiques.comparing)) == (16, 0)
    assert (len(comparisons.critiquing), len(comparisons.comparing)) == (0, 16)
    raw = json.loads((official / OFFICIAL_FILES["official-comparisons"]).read_text())
    assert [f"\n{p.comparison} Options:" for p in comparisons.comparing] == raw


def test_official_transcripts_render_as_concatenated(official: Path) -> None:
    path = official / OFFICIAL_FILES["official-critique-few-shots"]
    raw = json.loads(path.read_text())
    examples = read_few_shots(path).critique_revision
    assert few_shot_prefix(examples) == "".join(s.removesuffix("\n\nHuman:") for s in raw)
    assert read_few_shots(path).unterminated == (3,)


def test_official_cot_examples_are_taken_apart(official: Path) -> None:
    cot = read_few_shots(official / OFFICIAL_FILES["official-cot-few-shots"]).cot
    assert "".join(example.answer for example in cot) == "BBABAB"
    assert [len(example.conversation.turns) for example in cot] == [3, 1, 1, 1, 1, 1]
    for example in cot:
        assert example.verbatim is not None
        for part in (example.response_a, example.response_b, example.reasoning):
            assert part and part in example.verbatim


def test_keys_of_the_official_file_are_ids_and_nemo_counts(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text(json.dumps(CRITIQUES))
    c = load_constitution(source)
    assert [p.id for p in c.principles] == ["harmful0", "harmful7"]
    assert (c.principles[0].critique, c.principles[0].revision) == (" Find faults.", "Mend them. ")
    save_constitution(c, source, "nemo-critiques")
    written = json.loads(source.read_text())
    assert list(written) == ["harmful0", "harmful1"]
    assert written["harmful1"] == CRITIQUES["harmful7"]


def test_a_bare_list_of_pairs(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text('[{"critic": "a", "revision": "b"}]')
    (principle,) = load_constitution(source).principles
    assert (principle.critique, principle.revision, principle.uses) == ("a", "b", ("critique",))


JUDGE = """\
You judge. 1. This is no principle.

```CONSTITUTION
Some words:

  1. Prefer the kinder one.

  2. Prefer the one with 3. or more reasons.


More words.
```
The end.
"""


def test_the_judge_prompt(tmp_path: Path) -> None:
    source = tmp_path / "judge"
    source.write_text(JUDGE)
    c = load_constitution(source)
    assert [p.comparison for p in c.comparing] == [
        "Prefer the kinder one.",
        "Prefer the one with 3. or more reasons.",
    ]
    assert judge_prompt(c, frame=JUDGE) == JUDGE
    save_constitution(c, source, "nemo-judge")
    assert load_constitution(source).fingerprint == c.fingerprint


def test_the_default_goes_into_every_format_but_verbatim_cot(tmp_path: Path) -> None:
    for format in FORMATS:
        if format == "official-cot-few-shots":
            continue
        path = tmp_path / format
        save_constitution(default_constitution(), path, format)
        if "few-shots" in format:
            read_few_shots(path)
        elif format != "nemo-judge":
            load_constitution(path)


BAD = {
    "no marker": ({"harmful0": {"prompt": ["x"], "edit_request": "y"}}, "'prompt' of 'harmful0'"),
    "no edit": ({"harmful0": {"prompt": ["x"]}}, "entry 'harmful0': expected an object"),
    "two prompts": ({"a": {"prompt": ["x", "y"], "edit_request": ""}}, "holds one text"),
    "plain strings": (["Be kind."], "item 0: expected text that begins with '\\n'"),
    "half a pair": ([{"critic": "a"}], "pair 0: expected an object with the keys critic, revision"),
    "number in a pair": ([{"critic": 1, "revision": "b"}], "pair 0: expected text for 'critic'"),
    "pairs no list": ({"constitutions": {}}, "must be a list of pairs"),
    "blank pair": ([{"critic": " ", "revision": "b"}], "only blanks"),
    "examples": (SAMPLES["official-critique-few-shots"], "few-shot examples, not of principles"),
    "empty object": ({}, "in no known constitution format"),
    "empty list": ([], "in no known constitution format"),
    "odd list": ([1], "in no known constitution format"),
    "mixed list": ([1, {"critic": "a", "revision": "b"}], "pair 0: expected an object"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_constitution_is_refused(tmp_path: Path, name: str) -> None:
    data, sentence = BAD[name]
    path = tmp_path / "c.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ConstitutionFileError) as caught:
        load_constitution(path)
    assert str(caught.value).startswith(f"{path}")
    assert sentence in str(caught.value)


BAD_EXAMPLES = {
    "two blanks gone": (["\n\nHuman:q\n\nAssistant: a"], "item 0: each role marker"),
    "no revision": (["\n\nHuman: q\n\nAssistant: a"], "then critique_request, critique"),
    "no answer": ([{"prompt": "\n\nHuman: q", "corrects": ["a"], "incorrects": ["b"]}], "end in"),
    "two answers": (
        [{"prompt": "\n\nHuman: q\n\nAssistant:", "corrects": ["a", "b"], "incorrects": ["c"]}],
        "'corrects' of item 0: expected a list that holds one text",
    ),
    "no slot": ([{"prompt": COT.replace("{}", "")}], "item 0: expected a conversation marked"),
    "short chat": ({"samples": [CHAT[:4]]}, "chat 0 of 'samples': expected user and assistant"),
    "wrong speaker": ({"samples": [[*CHAT[:7], CHAT[0]]]}, "message 7 of chat 0 of 'samples'"),
    "samples no list": ({"samples": 1}, "'samples': expected a list of chats"),
}


@pytest.mark.parametrize("name", BAD_EXAMPLES)
def test_bad_examples_are_refused(tmp_path: Path, name: str) -> None:
    data, sentence = BAD_EXAMPLES[name]
    path = tmp_path / "c.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ConstitutionFileError) as caught:
        read_few_shots(path)
    assert str(caught.value).startswith(f"{path}")
    assert sentence in str(caught.value)


def test_an_export_that_would_be_empty_is_refused(official: Path, tmp_path: Path) -> None:
    c = load_constitution(official / OFFICIAL_FILES["official-comparisons"])
    with pytest.raises(ConstitutionFileError, match="no principle of this constitution serves"):
        save_constitution(c, tmp_path / "x", "official-critiques")
    with pytest.raises(ConstitutionFileError, match="no such few-shot examples"):
        save_constitution(c, tmp_path / "x", "official-cot-few-shots")
