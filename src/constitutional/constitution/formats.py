"""Constitutions and few-shot examples in the file formats of other projects.

Reading removes only the markers that a prompt gets anyway; writing puts them back, so that a file
read and written again holds the same texts to the byte.

=================================  ============================================================
format                             whose file
=================================  ============================================================
official-critiques                 anthropics/ConstitutionalHarmlessnessPaper,
                                   prompts/CritiqueRevisionInstructions.json
official-comparisons               same, prompts/RLMadisonInstructions.json
official-critique-few-shots        same, prompts/CritiqueRevisionFewShotPrompts.json
official-comparison-few-shots      same, prompts/RLMadisonFewShotPrompts.json
official-cot-few-shots             same, prompts/RLMadisonPrecogFewShotPrompts.json
nemo-critiques                     NVIDIA/NeMo-Aligner,
                                   examples/nlp/cai/CritiqueRevisionInstructions.json
nemo-few-shots                     same, examples/nlp/cai/few_shot_samples_example.json
nemo-judge                         same, examples/nlp/cai/sys_prompt_constitution
llm-swarm                          huggingface/llm-swarm,
                                   examples/constitutional-ai/constituion_grok.json (an object)
                                   and examples/hh/constitution.json (a bare list of pairs)
=================================  ============================================================

A format holds only a part of a constitution; the rest is left out when it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal

from constitutional.constitution.few_shot_formats import (
    FormatError,
    one,
    read_chats,
    read_comparison_examples,
    read_cot_examples,
    read_transcripts,
    unwrap,
    with_keys,
    wrap,
    write_chats,
    write_comparison_examples,
    write_cot_examples,
    write_transcripts,
)
from constitutional.constitution.few_shots import FewShots
from constitutional.constitution.principle import Constitution, Principle
from constitutional.dialogue.transcript import opening

Format = Literal[
    "official-critiques",
    "official-comparisons",
    "official-critique-few-shots",
    "official-comparison-few-shots",
    "official-cot-few-shots",
    "nemo-critiques",
    "nemo-few-shots",
    "nemo-judge",
    "llm-swarm",
]

_CRITIQUE = (opening("critique_request") + " ", opening("critique"))
_REVISION = (opening("revision_request") + " ", opening("revision"))
_COMPARISON = ("\n", " Options:")


# Principles


def _read_critiques(data: dict[str, Any]) -> tuple[Principle, ...]:
    principles = []
    for key, value in data.items():
        entry = with_keys(value, {"prompt", "edit_request"}, f"entry {key!r}")
        prompt = one(entry["prompt"], f"'prompt' of {key!r}")
        critique = unwrap(prompt, _CRITIQUE, f"'prompt' of {key!r}")
        revision = unwrap(entry["edit_request"], _REVISION, f"'edit_request' of {key!r}")
        principles.append(_pair(key, critique, revision))
    return tuple(principles)


def _pair(id: str, critique: str, revision: str) -> Principle:
    """A principle known only by its requests; the critique request stands in for its text."""
    return Principle(
        id=id,
        text=critique,
        uses=("critique",),
        critique_request=critique,
        revision_request=revision,
    )


def _write_critiques(constitution: Constitution) -> dict[str, Any]:
    return {
        p.id: {
            "prompt": [wrap(p.critique, _CRITIQUE)],
            "edit_request": wrap(p.revision, _REVISION),
        }
        for p in _critiquing(constitution)
    }


def _write_nemo_critiques(constitution: Constitution) -> dict[str, Any]:
    # Its loader counts harmful0, harmful1, ... whatever the file says.
    entries = _write_critiques(constitution).values()
    return {f"harmful{i}": entry for i, entry in enumerate(entries)}


def _read_comparisons(data: list[Any]) -> tuple[Principle, ...]:
    questions = [unwrap(text, _COMPARISON, f"item {i}") for i, text in enumerate(data)]
    return tuple(_question(i, text) for i, text in enumerate(questions))


def _question(number: int, text: str) -> Principle:
    return Principle(
        id=f"comparison{number}", text=text, uses=("comparison",), comparison_question=text
    )


def _write_comparisons(constitution: Constitution) -> list[str]:
    return [wrap(p.comparison, _COMPARISON) for p in _comparing(constitution)]


def _read_pairs(data: list[Any]) -> tuple[Principle, ...]:
    principles = []
    for i, item in enumerate(data):
        pair = with_keys(item, {"critic", "revision"}, f"pair {i}")
        for key, text in pair.items():
            if not isinstance(text, str):
                raise FormatError(f"pair {i}: expected text for {key!r}")
        principles.append(_pair(f"pair{i}", pair["critic"], pair["revision"]))
    return tuple(principles)


def _write_swarm(constitution: Constitution) -> dict[str, Any]:
    return {
        "constitutions": [
            {"critic": p.critique, "revision": p.revision} for p in _critiquing(constitution)
        ],
        "system_chat": write_chats(constitution.few_shots),
    }


def _critiquing(constitution: Constitution) -> tuple[Principle, ...]:
    if not constitution.critiquing:
        raise FormatError("no principle of this constitution serves critiques")
    return constitution.critiquing


def _comparing(constitution: Constitution) -> tuple[Principle, ...]:
    if not constitution.comparing:
        raise FormatError("no principle of this constitution serves comparisons")
    return constitution.comparing


# The judge's system prompt: numbered principles inside a fence

JUDGE_FENCE = "```CONSTITUTION"
_ITEM = re.compile(r"^[ \t]*\d+\.[ \t]+(\S[^\n]*)$", re.MULTILINE)

#: Used where no frame is given. The answer's form is what NeMo-Aligner's script parses.
_OWN_FRAME = """\
You compare answers of an AI assistant. Apply the principles between the backticks below.
Of the numbered answers that you are shown, name the one that agrees best with the principles
and the one that agrees least. Begin your reply with their numbers in exactly this form:
{ "chosen": x, "rejected": y}
You may explain your choice after that.

```CONSTITUTION
  1. (the principles)
```
"""


def read_judge_prompt(text: str, name: str) -> Constitution:
    """The comparison principles of a judge's system prompt (format ``nemo-judge``)."""
    items = _items(text)
    return Constitution(
        name=name, principles=tuple(_question(i, m[1].rstrip(" \t")) for i, m in enumerate(items))
    )


def _items(text: str) -> list[re.Match[str]]:
    start = text.find(JUDGE_FENCE)
    end = text.find("```", start + len(JUDGE_FENCE))
    items = list(_ITEM.finditer(text, start, end)) if 0 <= start < end else []
    if not items:
        raise FormatError(f"expected numbered principles between {JUDGE_FENCE!r} and '```'")
    for i, item in enumerate(items):
        stop = text.find("\n", item.end() + 1, end)
        following = text[item.end() + 1 : stop if stop >= 0 else end]
        if following.strip() and not _ITEM.match(following):
            raise FormatError(f"principle {i + 1} must be one line, followed by a blank one")
    return items


def judge_prompt(constitution: Constitution, frame: str | None = None) -> str:
    """The judge's system prompt; ``frame`` is an existing one whose list is to be replaced."""
    frame = _OWN_FRAME if frame is None else frame
    items = _items(frame)
    texts = [p.comparison for p in _comparing(constitution)]
    if any("\n" in text for text in texts):
        raise FormatError("a principle of more than one line does not fit into this format")
    block = "\n\n".join(f"  {i}. {text}" for i, text in enumerate(texts, start=1))
    return frame[: items[0].start()] + block + frame[items[-1].end() :]


# Which format a JSON document is in, by its content


def detect(data: Any) -> Format | None:
    """The format of parsed JSON, or None."""
    if isinstance(data, dict):
        if "constitutions" in data:
            return "llm-swarm"
        if "samples" in data:
            return "nemo-few-shots"
        entries = [v for v in data.values() if isinstance(v, dict)]
        return (
            "official-critiques"
            if any({"prompt", "edit_request"} & set(e) for e in entries)
            else None
        )
    return _detect_list(data) if isinstance(data, list) and data else None


def _detect_list(data: list[Any]) -> Format | None:
    if all(isinstance(item, str) for item in data):
        few = all(item.lstrip().startswith("Human:") for item in data)
        return "official-critique-few-shots" if few else "official-comparisons"
    keys = set().union(*(item for item in data if isinstance(item, dict)))
    if "critic" in keys:
        return "llm-swarm"
    if "corrects" in keys:
        return "official-comparison-few-shots"
    return "official-cot-few-shots" if "prompt" in keys else None


_FEW_SHOT_READERS: dict[Format, Callable[[Any], FewShots]] = {
    "official-critique-few-shots": read_transcripts,
    "official-comparison-few-shots": read_comparison_examples,
    "official-cot-few-shots": read_cot_examples,
    "nemo-few-shots": lambda data: read_chats(data["samples"], "'samples'"),
}


def parse_few_shots(data: Any) -> FewShots | None:
    """The examples in parsed JSON of a few-shot format; None if it is in no such format."""
    format = detect(data)
    return _FEW_SHOT_READERS[format](data) if format in _FEW_SHOT_READERS else None


def parse_constitution(data: Any, name: str) -> Constitution:
    """The constitution in parsed JSON of a foreign format."""
    match detect(data):
        case "official-critiques":
            return Constitution(name=name, principles=_read_critiques(data))
        case "official-comparisons":
            return Constitution(name=name, principles=_read_comparisons(data))
        case "llm-swarm":
            record = {"constitutions": data} if isinstance(data, list) else data
            pairs = record["constitutions"]
            if not isinstance(pairs, list):
                raise FormatError("'constitutions' must be a list of pairs")
            few_shots = read_chats(record.get("system_chat", []), "'system_chat'")
            return Constitution(name=name, principles=_read_pairs(pairs), few_shots=few_shots)
        case None:
            raise FormatError(
                "this JSON is in no known constitution format; expected the native keys (name, "
                "principles) or one of the formats listed in docs/constitutions.md"
            )
        case _:
            raise FormatError("this is a file of few-shot examples, not of principles")


_WRITERS: dict[str, Callable[[Constitution], Any]] = {
    "official-critiques": _write_critiques,
    "official-comparisons": _write_comparisons,
    "official-critique-few-shots": lambda c: write_transcripts(c.few_shots),
    "official-comparison-few-shots": lambda c: write_comparison_examples(c.few_shots),
    "official-cot-few-shots": lambda c: write_cot_examples(c.few_shots),
    "nemo-critiques": _write_nemo_critiques,
    "nemo-few-shots": lambda c: {"samples": write_chats(c.few_shots)},
    "llm-swarm": _write_swarm,
}
FORMATS: tuple[str, ...] = (*_WRITERS, "nemo-judge")


def export(constitution: Constitution, format: Format) -> str:
    """The text of a file in a foreign format; raises FormatError where it would hold nothing."""
    if format == "nemo-judge":
        return judge_prompt(constitution)
    data = _WRITERS[format](constitution)
    if data in ([], {"samples": []}):
        raise FormatError("this constitution has no such few-shot examples")
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"
