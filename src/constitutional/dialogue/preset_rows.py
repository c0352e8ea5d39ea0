"""One row of a known data set to a row of ours; :mod:`constitutional.dialogue.presets` names them.

Ids carry the data set's name, so that two data sets can be read for one use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from constitutional.dialogue.forms import LeftOut
from constitutional.dialogue.prompt_rows import MalformedRow

Row = Mapping[str, Any]


def as_it_is(row: Row) -> Row:
    """hh-rlhf (2204.05862, 2209.07858): ``chosen`` and ``rejected``, or ``transcript``."""
    return row


def beavertails_prompt(row: Row) -> Row:
    """BeaverTails (2307.04657): an answer to ``prompt`` with ``is_safe`` and 14 flags."""
    if _flag(row, "is_safe"):
        raise LeftOut("the answer is marked safe, which says nothing of the prompt")
    return {"prompt": _text(row, "prompt"), "tags": _raised(row, "category")}


def saferlhf_prompt(row: Row) -> Row:
    """PKU-SafeRLHF (2406.15513): two answers to ``prompt``, each safe or not, 19 flags each."""
    _refuse_both_safe(row)
    tags = {tag: None for i in (0, 1) for tag in _raised(row, f"response_{i}_harm_category")}
    return {"prompt": _text(row, "prompt"), "tags": list(tags)}


def saferlhf_safer(row: Row) -> Row:
    """The pair by ``safer_response_id``."""
    _refuse_both_safe(row)
    return _saferlhf_pair(row, "safer_response_id")


def saferlhf_better(row: Row) -> Row:
    """The pair by ``better_response_id``, which is about helpfulness alone."""
    return _saferlhf_pair(row, "better_response_id")


def _saferlhf_pair(row: Row, key: str) -> Row:
    best = _value(row, key)
    if isinstance(best, bool) or best not in (0, 1):
        raise MalformedRow(f"{key!r} must be 0 or 1, found {best!r:.40}")
    return {
        "prompt": _text(row, "prompt"),
        "chosen": _text(row, f"response_{best}"),
        "rejected": _text(row, f"response_{1 - best}"),
    }


def _refuse_both_safe(row: Row) -> None:
    if _flag(row, "is_response_0_safe") and _flag(row, "is_response_1_safe"):
        raise LeftOut("both answers are marked safe")


def harmbench_prompt(row: Row) -> Row:
    """HarmBench (2402.04249): a behaviour, below its context as in the project's direct request."""
    kind = _text(row, "FunctionalCategory")
    if kind == "copyright":
        raise LeftOut("a copyright behaviour, which is judged by the text and not by harm")
    behaviour, context = _text(row, "Behavior"), row.get("ContextString") or ""
    return {
        "id": f"harmbench-{_text(row, 'BehaviorID')}",
        "prompt": f"{context}\n\n---\n\n{behaviour}" if context else behaviour,
        "tags": [kind, _text(row, "SemanticCategory")],
    }


def advbench_prompt(row: Row) -> Row:
    """AdvBench (2307.15043): ``goal``; ``target`` is the beginning that an attack is to force."""
    return {"prompt": _text(row, "goal")}


def xstest_unsafe(row: Row) -> Row:
    """XSTest (2308.01263): the contrasts, which are what its type begins with, are unsafe."""
    if not _is_contrast(row):
        raise LeftOut("a safe prompt")
    return _xstest(row)


def xstest_safe(row: Row) -> Row:
    """The prompts of XSTest that ought to be answered."""
    if _is_contrast(row):
        raise LeftOut("an unsafe prompt")
    return _xstest(row)


def _is_contrast(row: Row) -> bool:
    return _text(row, "type").startswith("contrast_")


def _xstest(row: Row) -> Row:
    id_ = f"xstest-{_value(row, 'id')}"
    return {"id": id_, "prompt": _text(row, "prompt"), "tags": [_text(row, "type")]}


def do_not_answer_prompt(row: Row) -> Row:
    """Do-Not-Answer (2308.13387): ``question``, in ``risk_area`` and ``types_of_harm``."""
    return {
        "id": f"do-not-answer-{_value(row, 'id')}",
        "prompt": _text(row, "question"),
        "tags": [_text(row, "risk_area"), _text(row, "types_of_harm")],
    }


def ultrafeedback_prompt(row: Row) -> Row:
    """UltraFeedback, binarised (2310.01377, 2310.16944): ``prompt`` with ``prompt_id``."""
    return {"id": f"ultrafeedback-{_text(row, 'prompt_id')}", "prompt": _text(row, "prompt")}


def ultrafeedback_pair(row: Row) -> Row:
    """``chosen`` and ``rejected`` are whole conversations, with a score each."""
    if _value(row, "score_chosen") == _value(row, "score_rejected"):
        raise LeftOut("both answers have the same score")
    chosen, rejected = _messages(row, "chosen"), _messages(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise LeftOut("the prompts differ")
    return {"prompt": chosen[:-1], "chosen": chosen[-1:], "rejected": rejected[-1:]}


def dolly_prompt(row: Row) -> Row:
    """Dolly: ``instruction``, with ``context`` below it where there is one."""
    return {"prompt": _asked(row, "context"), "tags": [_text(row, "category")]}


def dolly_demonstration(row: Row) -> Row:
    """The same, and ``response``."""
    return _demonstrated(row, "context", "response")


def alpaca_prompt(row: Row) -> Row:
    """Alpaca: ``instruction``, with ``input`` below it where there is one."""
    return {"prompt": _asked(row, "input")}


def alpaca_demonstration(row: Row) -> Row:
    """The same, and ``output``."""
    return _demonstrated(row, "input", "output")


def _asked(row: Row, below: str) -> str:
    more = _text(row, below)
    return _text(row, "instruction") + (f"\n\n{more}" if more.strip() else "")


def _demonstrated(row: Row, below: str, answer: str) -> Row:
    if not _text(row, answer).strip():
        raise LeftOut("the answer is empty")
    return {"prompt": _asked(row, below), "completion": _text(row, answer)}


# Cells


def _value(row: Row, key: str) -> Any:
    if key not in row:
        raise MalformedRow(f"expected the column {key!r}, found {', '.join(map(repr, row))}")
    return row[key]


def _text(row: Row, key: str) -> str:
    value = _value(row, key)
    if not isinstance(value, str):
        raise MalformedRow(f"{key!r} must be a text, found {value!r:.40}")
    return value


def _flag(row: Row, key: str) -> bool:
    value = _value(row, key)
    if not isinstance(value, bool):
        raise MalformedRow(f"{key!r} must be true or false, found {value!r:.40}")
    return value


def _raised(row: Row, key: str) -> list[str]:
    """The names of the flags that are up."""
    flags = _value(row, key)
    if not isinstance(flags, Mapping):
        raise MalformedRow(f"{key!r} must be flags by name, found {flags!r:.40}")
    return [str(name) for name, raised in flags.items() if raised]


def _messages(row: Row, key: str) -> list[Any]:
    value = _value(row, key)
    if not isinstance(value, list) or len(value) < 2:
        raise MalformedRow(f"{key!r} must be the messages of a conversation, found {value!r:.40}")
    return value
