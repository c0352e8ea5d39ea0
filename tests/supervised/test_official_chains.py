"""The chains published with the paper, sent through the stage again: every prompt to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from constitutional.constitution import Principle, load_constitution, read_few_shots
from constitutional.dialogue import PromptRecord, parse
from constitutional.dialogue.shape import flags
from constitutional.engines import ScriptedEngine
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.settings import CritiqueRevisionConfig

OFFICIAL = Path(__file__).resolve().parents[2].parent / "shared/data/official"
INSTRUCTIONS = "CritiqueRevisionInstructions.json"
FEW_SHOTS = "CritiqueRevisionFewShotPrompts.json"
pytestmark = pytest.mark.skipif(
    not OFFICIAL.is_dir(),
    reason="the official files are not here (shared/data/official beside the checkout)",
)


def rows() -> list[dict[str, Any]]:
    files = sorted(OFFICIAL.glob("samples/*_SLMADISON.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def samples(row: dict[str, Any]) -> list[str]:
    """The response and then each critique and revision, as the model wrote them."""
    texts = [row["initial_response"][0]["sample"]]
    for step in row["cst"]:
        texts += [step["critique"]["sample"], step["revision"]["sample"]]
    return texts


def literal_prompts(row: dict[str, Any]) -> list[str]:
    """What the official strings give when they are joined, without any code of ours.

    All few-shot examples but one end in the open human turn that begins the next transcript; that
    one (index 3) is given it. Samples stand as they are, less the white space that ends a few of
    them, which the stage strips.
    """
    few_shots = json.loads((OFFICIAL / "prompts" / FEW_SHOTS).read_text())
    open_turn = "\n\nHuman:"
    shots = "".join(text.removesuffix(open_turn) for text in few_shots)
    response, *texts = (text.rstrip() for text in samples(row))
    prompts, version = [row["rl_prompt"]], response
    for step, critique, revision in zip(row["cst"], texts[::2], texts[1::2], strict=True):
        asked = shots + row["rl_prompt"] + version + step["cst_value"]["prompt"][0]
        prompts += [asked, asked + critique + step["cst_value"]["edit_request"]]
        version = revision
    return prompts


class AsPublished(CritiqueRevision):
    """Draws the principles that the published chain drew."""

    keys: list[str]

    def principle_for(self, prompt_id: str, number: int) -> Principle:
        principles = {p.id: p for p in self._constitution.principles}
        return principles[self.keys[number - 1]]


def test_prompts_are_the_official_strings() -> None:
    constitution = load_constitution(OFFICIAL / "prompts" / INSTRUCTIONS).with_few_shots(
        read_few_shots(OFFICIAL / "prompts" / FEW_SHOTS)
    )
    trailing = 0
    for row in rows():
        texts = iter(samples(row))
        engine = ScriptedEngine(lambda text, seed, texts=texts: next(texts))  # type: ignore[misc]
        settings = CritiqueRevisionConfig(max_new_tokens=1000)
        stage = AsPublished(engine, constitution, settings, seed=0)
        stage.keys = [step["cst_key"] for step in row["cst"]]
        prompt = PromptRecord(
            id="row",
            conversation=parse(row["rl_prompt"].removesuffix("\n\nAssistant:")),
            kind="red_team",
            source="official",
        )
        (chain,) = stage.chains([prompt])
        assert [request.text for request in engine.requests] == literal_prompts(row)
        assert [v.text for v in chain.versions] == [t.strip() for t in samples(row)[::2]]
        assert all(version.usable for version in chain.versions)
        trailing += sum(text != text.rstrip() for text in samples(row))
    assert len(rows()) == 26
    assert trailing == 3  # the samples that the expectation strips


def test_no_official_text_is_flagged() -> None:
    found = [text for row in rows() for text in samples(row) if flags(text, "eos")]
    assert found == []
