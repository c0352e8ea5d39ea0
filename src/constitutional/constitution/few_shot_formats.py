"""Few-shot examples in the file formats of other projects; see :mod:`.formats` for the list.

Each reader takes parsed JSON, and each writer gives back what its reader took.
"""

from __future__ import annotations

import re
from typing import Any

from constitutional.constitution.few_shots import ComparisonExample, CotExample, FewShots
from constitutional.dialogue.conversation import Conversation, Role, Turn
from constitutional.dialogue.transcript import opening, parse, render

_OPEN_HUMAN = opening("human")


class FormatError(ValueError):
    """A file is not in the format that it looks like, or a constitution does not fit a format."""


def unwrap(text: Any, wrapper: tuple[str, str], what: str) -> str:
    """The text inside its marker and ending; ``what`` names it in the error."""
    before, after = wrapper
    fits = isinstance(text, str) and text.startswith(before) and text.endswith(after)
    if not fits or len(text) < len(before + after):
        raise FormatError(
            f"{what}: expected text that begins with {before!r} and ends in {after!r}"
        )
    return str(text[len(before) : len(text) - len(after)])


def wrap(text: str, wrapper: tuple[str, str]) -> str:
    """The inverse of :func:`unwrap`."""
    return wrapper[0] + text + wrapper[1]


def with_keys(value: Any, keys: set[str], what: str) -> dict[str, Any]:
    """``value``, which must be an object with exactly these keys."""
    if not isinstance(value, dict) or set(value) != keys:
        raise FormatError(f"{what}: expected an object with the keys {', '.join(sorted(keys))}")
    return value


def one(value: Any, what: str) -> str:
    """The only text of a list."""
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], str):
        raise FormatError(f"{what}: expected a list that holds one text")
    return value[0]


def read_transcripts(data: list[Any]) -> FewShots:
    """Transcripts of critique and revision; most end in an open human turn."""
    examples = []
    for i, text in enumerate(data):
        body = text.removesuffix(_OPEN_HUMAN)
        examples.append(_transcript(body, f"item {i}"))
    unterminated = tuple(i for i, text in enumerate(data) if not text.endswith(_OPEN_HUMAN))
    return FewShots(critique_revision=tuple(examples), unterminated=unterminated)


def _transcript(text: str, what: str) -> Conversation:
    """Parse, and make sure that rendering gives the same bytes."""
    try:
        conversation = parse(text)
    except ValueError as error:
        raise FormatError(f"{what}: {error}") from None
    if render(conversation) != text:
        raise FormatError(
            f"{what}: each role marker must follow a blank line and precede one blank"
        )
    return conversation


def write_transcripts(few_shots: FewShots) -> list[str]:
    """The inverse of :func:`read_transcripts`."""
    return [
        render(example) + ("" if i in few_shots.unterminated else _OPEN_HUMAN)
        for i, example in enumerate(few_shots.critique_revision)
    ]


def read_comparison_examples(data: list[Any]) -> FewShots:
    """Prompts with one right and one wrong answer."""
    examples = []
    for i, item in enumerate(data):
        record = with_keys(item, {"prompt", "corrects", "incorrects"}, f"item {i}")
        prompt = record["prompt"]
        if not isinstance(prompt, str) or not prompt.endswith(opening("assistant")):
            raise FormatError(f"item {i}: 'prompt' must end in {opening('assistant')!r}")
        examples.append(
            ComparisonExample(
                conversation=_transcript(prompt.removesuffix(opening("assistant")), f"item {i}"),
                better=one(record["corrects"], f"'corrects' of item {i}"),
                worse=one(record["incorrects"], f"'incorrects' of item {i}"),
            )
        )
    return FewShots(comparison=tuple(examples))


def write_comparison_examples(few_shots: FewShots) -> list[dict[str, Any]]:
    """The inverse of :func:`read_comparison_examples`."""
    return [
        {
            "prompt": render(example.conversation, awaiting="assistant"),
            "corrects": [example.better],
            "incorrects": [example.worse],
        }
        for example in few_shots.comparison
    ]


#: How an example begins and ends, and what stands between its two responses and the reasoning.
_COT_HEAD = re.compile(r"\s*Human: [^\n]*\n\n(?=[HA]:)")
_COT_LEAD = re.compile(r"\]\]\]\n\nAssistant: [^\n:]*:")
_COT_LAST = re.compile(r"[^\n]*\(([AB])\)")
_COT_SLOT, _COT_MIDDLE, _COT_END = "\n\n{}\n (A) [[[", "]]]\n (B) [[[", "\n\nHuman:"
_INNER_TURN = re.compile(r"(?:\A|\n\n)([HA]):")


def read_cot_examples(data: list[Any]) -> FewShots:
    """Comparison prompts with reasoning and an answer; kept verbatim beside their parts."""
    examples = []
    for i, item in enumerate(data):
        prompt = with_keys(item, {"prompt"}, f"item {i}")["prompt"]
        example = _cot_example(prompt) if isinstance(prompt, str) else None
        if example is None:
            raise FormatError(
                f"item {i}: expected a conversation marked H: and A:, a line '{{}}' for the "
                "principle, responses (A) and (B) in triple brackets, reasoning and an answer"
            )
        examples.append(example)
    return FewShots(cot=tuple(examples))


def _cot_example(prompt: str) -> CotExample | None:
    """The parts of an example; None where one is missing.

    By searches from both ends and not by one pattern, which would take minutes over a long text.
    """
    body, _, last = prompt.rpartition("\n")
    begins, answer = _COT_HEAD.match(prompt), _COT_LAST.fullmatch(last)
    if begins is None or answer is None or not body.endswith(_COT_END):
        return None
    head, slot, rest = body.removesuffix(_COT_END)[begins.end() :].partition(_COT_SLOT)
    a, middle, rest = rest.partition(_COT_MIDDLE)
    lead = _COT_LEAD.search(rest)
    if not slot or not middle or lead is None:
        return None
    return CotExample(
        conversation=_inner_conversation(head),
        response_a=a,
        response_b=rest[: lead.start()],
        reasoning=rest[lead.end() :].strip(),
        answer="A" if answer[1] == "A" else "B",
        verbatim=prompt,
    )


def _inner_conversation(text: str) -> Conversation:
    parts = _INNER_TURN.split(text)[1:]
    roles: dict[str, Role] = {"H": "human", "A": "assistant"}
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return Conversation(turns=tuple(Turn(role=roles[m], text=t.strip()) for m, t in pairs))


def write_cot_examples(few_shots: FewShots) -> list[dict[str, str]]:
    """The inverse of :func:`read_cot_examples`."""
    prompts = [example.verbatim for example in few_shots.cot]
    if None in prompts:
        raise FormatError("a cot example without 'verbatim' has no text in this format")
    return [{"prompt": prompt} for prompt in prompts if prompt is not None]


_CHAIN: tuple[Role, ...] = ("critique_request", "critique", "revision_request", "revision")
_SPEAKERS = ("user", "assistant")


def read_chats(chats: Any, what: str) -> FewShots:
    """Chats of user and assistant; ``what`` names the list in the error."""
    if not isinstance(chats, list):
        raise FormatError(f"{what}: expected a list of chats")
    return FewShots(
        critique_revision=tuple(_read_chat(c, f"chat {i} of {what}") for i, c in enumerate(chats))
    )


def _read_chat(chat: Any, what: str) -> Conversation:
    """A chat whose last four messages are the critique and the revision with their requests."""
    if not isinstance(chat, list) or len(chat) < 6 or len(chat) % 2:
        raise FormatError(f"{what}: expected user and assistant in turn, six messages or more")
    head = [("human", "assistant")[i % 2] for i in range(len(chat) - 4)]
    turns = []
    for i, (message, role) in enumerate(zip(chat, [*head, *_CHAIN], strict=True)):
        record = with_keys(message, {"role", "content"}, f"message {i} of {what}")
        if record["role"] != _SPEAKERS[i % 2] or not isinstance(record["content"], str):
            raise FormatError(f"message {i} of {what}: expected a text of {_SPEAKERS[i % 2]!r}")
        turns.append({"role": role, "text": record["content"]})
    return Conversation.model_validate({"turns": turns})


def write_chats(few_shots: FewShots) -> list[list[dict[str, str]]]:
    """The inverse of :func:`read_chats`."""
    return [
        [{"role": _SPEAKERS[i % 2], "content": turn.text} for i, turn in enumerate(example.turns)]
        for example in few_shots.critique_revision
    ]
