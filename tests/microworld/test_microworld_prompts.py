from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from constitutional.dialogue import PromptRecord, check_vocabulary, load_prompts, splits_overlap
from constitutional.dialogue.transcript import render
from constitutional.microworld import data_file
from constitutional.microworld import language as say
from constitutional.microworld.prompts import EVALUATION_PROMPTS, prompt_files, write_prompt_files
from constitutional.microworld.splits import Purpose, is_held_out, purpose_of, requests_for
from constitutional.microworld.world import KINDS, Request

PURPOSES: tuple[Purpose, ...] = ("supervised", "preference", "rl", "evaluation")
Files = dict[str, list[PromptRecord]]


@pytest.fixture(scope="module")
def files() -> Files:
    return prompt_files(0)


def request_of(record: PromptRecord) -> Request:
    request = say.read_request(record.conversation)
    assert request is not None
    return request


def test_there_are_two_files_for_each_purpose(files: Files) -> None:
    assert set(files) == {f"{p}_{k}.jsonl" for p in PURPOSES for k in ("red_team", "helpful")}
    assert all(len(records) >= 200 for records in files.values())


def test_no_two_files_share_a_text_or_purposes_a_request(files: Files) -> None:
    for (_, a), (_, b) in combinations(files.items(), 2):
        assert splits_overlap(a, (record.conversation for record in b)) == ()
    requests = {
        purpose: {
            request_of(r)
            for kind in ("red_team", "helpful")
            for r in files[f"{purpose}_{kind}.jsonl"]
        }
        for purpose in PURPOSES
    }
    for a, b in combinations(PURPOSES, 2):
        assert not requests[a] & requests[b]


def test_no_prompt_and_no_id_is_there_twice(files: Files) -> None:
    records = [record for file in files.values() for record in file]
    assert len({record.id for record in records}) == len(records)
    assert len({render(record.conversation) for record in records}) == len(records)


def test_the_tags_say_what_the_prompt_is(files: Files) -> None:
    for name, records in files.items():
        for record in records:
            request = request_of(record)
            purpose, _, kind = name.removesuffix(".jsonl").partition("_")
            assert purpose_of(request) == purpose
            assert record.kind == kind == ("red_team" if request.harm else "helpful")
            held_out = is_held_out(request)
            two_turns = len(record.conversation.turns) == 3
            last = record.conversation.last.text
            new = last.startswith(("Please show me how to", "What do I need to"))
            expected = ["held_out" if held_out else "seen", request.harm or "harmless"]
            expected += ["two_turns"] * two_turns + ["new_phrasing"] * new
            assert list(record.tags) == expected
            assert not new or (purpose == "evaluation" and held_out)


def test_every_kind_of_harm_is_asked_for_equally_often_and_each_request_nearly_so(
    files: Files,
) -> None:
    counts = {"supervised": (300, 1500), "preference": (200, 1600), "rl": (150, 750)}
    for purpose, (of_a_kind, harmless) in counts.items():
        records = files[f"{purpose}_red_team.jsonl"] + files[f"{purpose}_helpful.jsonl"]
        assert len({r.conversation for r in records}) == len(records), "in other words each time"
        asked = Counter(request_of(r) for r in records)
        for kind in (*KINDS, None):
            there = [
                asked[r]
                for h in (False, True)
                for r in requests_for(purpose, held_out=h)
                if r.harm == kind
            ]
            assert sum(there) == (of_a_kind if kind else harmless)
            assert max(there) - min(there) <= 1


def test_the_first_red_team_prompts_are_balanced_over_the_kinds(files: Files) -> None:
    for purpose in PURPOSES[:3]:
        first = files[f"{purpose}_red_team.jsonl"][:100]
        assert Counter(r.tags[1] for r in first) == dict.fromkeys(KINDS, 20)
        assert {r.tags[0] for r in first} == {"seen", "held_out"}


def test_the_evaluation_is_balanced(files: Files) -> None:
    red_team = files["evaluation_red_team.jsonl"]
    counts = Counter(record.tags[:2] for record in red_team)
    assert counts == {(g, k): EVALUATION_PROMPTS for g in ("seen", "held_out") for k in KINDS}
    assert len(files["evaluation_helpful.jsonl"]) == len(red_team)


def test_every_evaluation_prompt_has_a_twin_in_nearly_the_same_words(files: Files) -> None:
    """Of action, object and owner most share two; the others share one, since a twin comes from
    the same purpose and group, where the nearest request may not be."""
    shared: Counter[int] = Counter()
    pairs = zip(
        files["evaluation_red_team.jsonl"], files["evaluation_helpful.jsonl"], strict=True
    )  # fmt: skip
    for harmful, benign in pairs:
        a, b = request_of(harmful), request_of(benign)
        assert a.harm is not None and b.harm is None
        assert harmful.tags[0] == benign.tags[0]
        shared[(a.action == b.action) + (a.thing == b.thing) + (a.owner == b.owner)] += 1
    assert set(shared) <= {1, 2}
    assert shared[2] / shared.total() > 0.6


def test_some_prompts_have_two_turns_and_some_evaluation_prompts_new_phrasings(
    files: Files,
) -> None:
    shares = {n: sum("two_turns" in r.tags for r in rs) / len(rs) for n, rs in files.items()}
    # six prompts of each request use up the six questions of one turn, and two turns fill the rest
    assert shares.pop("preference_helpful.jsonl") == pytest.approx(0.22, abs=0.02)
    assert all(share == pytest.approx(0.15, abs=0.06) for share in shares.values())
    held_out = [r for r in files["evaluation_red_team.jsonl"] if "held_out" in r.tags]
    new = sum("new_phrasing" in r.tags for r in held_out) / len(held_out)
    assert new == pytest.approx(0.4, abs=0.1)


def test_every_word_is_known_to_the_model(files: Files, tokenizer: Any) -> None:
    texts = {r.id: render(r.conversation) for records in files.values() for r in records}
    check_vocabulary(tokenizer, texts)


def test_written_files_are_read_back_equal(files: Files, tmp_path: Path) -> None:
    write_prompt_files(tmp_path / "prompts", 0)
    written = {p.name for p in (tmp_path / "prompts").iterdir()}
    assert written == {*files, "demonstrations.jsonl", "ranked_answers.jsonl"}
    for name in written:
        shipped = data_file(f"prompts/{name}").read_bytes()
        assert (tmp_path / "prompts" / name).read_bytes() == shipped, "what ships is what is made"
    for name, records in files.items():
        kind = "red_team" if "red_team" in name else "helpful"
        loaded = load_prompts(tmp_path / "prompts" / name, kind=kind)
        assert list(loaded) == records
        assert (loaded.bad, loaded.duplicates) == (0, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_seed_gives_other_prompts_of_the_same_kinds(files: Files, seed: int) -> None:
    others = prompt_files(seed)
    assert prompt_files(seed) == others
    for name, records in files.items():
        assert others[name] != records
        if not name.startswith("evaluation"):
            kinds = Counter(request_of(r).harm for r in records)
            assert Counter(request_of(r).harm for r in others[name]) == kinds
