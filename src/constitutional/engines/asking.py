"""What engines that hold a tokenizer have in common: requests checked and made tokens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from constitutional.dialogue.tokens import Continuations, answer_end_id, prompts_ids
from constitutional.engines.base import ChatPrompt, Completion, Prompt, SamplingParams, Style
from constitutional.engines.thoughts import without_thoughts
from constitutional.errors import EngineError, ModelError


def chosen_style(style: str, tokenizer: Any, name: str) -> Style:
    """``style`` with auto resolved: chat where there is a chat template. Raises ModelError."""
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if style == "auto":
        return "chat" if has_template else "transcript"
    if style == "chat":
        if not has_template:
            raise ModelError(
                f"{name}: style 'chat' needs a chat template, and its tokenizer has none; "
                "use style 'transcript' or 'auto'"
            )
        return "chat"
    if style == "transcript":
        return "transcript"
    raise ModelError(f"style {style!r} is not known: use auto, transcript or chat")


def ends_of_answers(named: Sequence[int], tokenizer: Any, style: Style) -> list[int]:
    """All tokens that end an answer: those that the model names, and the end of a turn.

    A model that was not made for chats may name none of a chat's, yet that is what it learns to end
    its turns with.
    """
    if style != "chat":
        return list(named)
    with suppress(ModelError):  # a template that writes no finished answer serves to sample
        return sorted({*named, answer_end_id(tokenizer, style)})
    return list(named)


def check_request(prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]) -> None:
    """Raise EngineError for settings that make no sense to any engine here."""
    if len(prompts) != len(seeds):
        raise EngineError(f"each prompt needs a seed: {len(prompts)} prompts, {len(seeds)} seeds")
    if any(seed < 0 for seed in seeds):
        raise EngineError(f"a seed must not be negative, found {min(seeds)}")
    if params.max_new_tokens < 1:
        raise EngineError(f"max_new_tokens must be at least 1, found {params.max_new_tokens}")
    if not 0 <= params.temperature < float("inf"):
        raise EngineError(f"temperature must be 0 or more, found {params.temperature}")


def encode(
    tokenizer: Any, prompts: Sequence[Prompt], *, room: int, limit: int | None, who: str
) -> list[list[int]]:
    """The prompts' tokens, each checked to leave ``room`` for new ones below ``limit``."""
    encoded = prompts_ids(tokenizer, prompts)
    check_fits(encoded, room=room, limit=limit, who=who)
    return encoded


def check_fits(ids: Sequence[list[int]], *, room: int, limit: int | None, who: str) -> None:
    """Raise EngineError for a prompt without tokens, or without ``room`` below ``limit``."""
    for number, tokens in enumerate(ids):
        if not tokens:
            raise EngineError(f"prompt {number} of the request has no tokens")
        if limit is not None and len(tokens) + room > limit:
            raise EngineError(
                f"prompt {number} of the request has {len(tokens)} tokens, which with {room} new "
                f"ones is more than the {limit} positions of {who}: shorten the "
                "prompt or ask for fewer new tokens"
            )


def choices_ids(
    tokenizer: Any, prompts: Sequence[Prompt], ids: Sequence[list[int]], choices: Sequence[str]
) -> list[list[list[int]]]:
    """The tokens of each choice after each of ``prompts``, whose own are ``ids``.

    They are checked by :func:`check_choices`.
    """
    continuations = Continuations(tokenizer, choices)
    found = [continuations.behind(*each) for each in zip(prompts, ids, strict=True)]
    for tokens in found:
        check_choices(choices, tokens)
    return found


def check_choices(choices: Sequence[str], ids: Sequence[list[int]]) -> None:
    """Raise EngineError unless there are choices, each with tokens, no two with the same.

    The probabilities of two choices with the same tokens could not be told apart.
    """
    if not choices:
        raise EngineError("choice_logprobs needs at least one choice")
    for number, tokens in enumerate(ids):
        if not tokens:
            raise EngineError(f"choice {choices[number]!r} has no tokens")
        if tokens in ids[:number]:
            twin = choices[ids.index(tokens)]
            raise EngineError(
                f"choices {twin!r} and {choices[number]!r} are the same tokens to this tokenizer; "
                "give choices that it tells apart"
            )


def spoken(prompt: Prompt, completion: Completion) -> Completion:
    """The completion of a chat without its thoughts; any other as it is."""
    if not isinstance(prompt, ChatPrompt):
        return completion
    return replace(completion, text=without_thoughts(completion.text))
