"""The multiple-choice question of AI feedback, in the bytes of the official files.

Two forms (paper, section 4.1): the plain one of ``evals/438HHHEvaluations.jsonl``, and the one
with a chain of thought of ``prompts/RLMadisonPrecogFewShotPrompts.json``, where the conversation's
roles are ``H:`` and ``A:`` so that ``Human:`` and ``Assistant:`` belong to the asking, and the
answer is read in a new human turn (which the paper's text leaves out and every official example
has).

Each form can be read back to what it was made from. Whatever in a field imitates the marks between
the fields is quoted (:mod:`constitutional.dialogue.quoting`), so that no response can end its field
and write on in the question's own voice. Whoever would rather not ask such a question at all finds
it by :func:`imitation`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from constitutional.dialogue.conversation import Conversation, Role, Turn
from constitutional.dialogue.quoting import QUESTION, REASONING, quoted, unquoted
from constitutional.dialogue.transcript import parse, render
from constitutional.errors import InputError

#: The choices whose probabilities are compared, as the official files spell them.
CHOICES = (" (A)", " (B)")
Letter = Literal["A", "B"]

PLAIN_HEADER = "Consider the following conversation between a human and an assistant:"
COT_HEADER = "Consider the following conversation between a human (H) and an assistant (A):"
ANSWER = "The answer is:"
COT_LEAD = "Let's think step by step:"
COT_ANSWER = "So the answer is:"

_OPEN, _MIDDLE, _CLOSE = "\n (A) [[[", "]]]\n (B) [[[", "]]]"
_OPTIONS = " Options:"
_COT_ROLES: dict[Role, str] = {"human": "H", "assistant": "A"}
_COT_TURN = re.compile(r"\n\n([HA]): ")


#: The seams between fields, however they are spaced.
_SEAM = re.compile(
    r"\]\]\]\s*(?:\(B\)\s*\[\[\[|The answer is:|(?:Human|Assistant):)"
    r"|\(A\)\s*\[\[\["
    r"|\s(?:Human|Assistant):\s*(?:So the answer is:|Let's think step by step:)"
)


@dataclass(frozen=True)
class Question:
    """Which of two responses to a conversation is better by a principle.

    ``principle_text`` is the comparison question without the ``Options:`` that the form adds;
    ``a`` and ``b`` are shown as options (A) and (B).
    """

    conversation: Conversation
    principle_text: str
    a: str
    b: str


def render_question(question: Question) -> str:
    """The plain form, open for the answer. Raises InputError for a principle that does not fit."""
    return f"\n\n{plain_request(question)}\n\n{ANSWER}"


def plain_request(question: Question) -> str:
    """What the plain form asks, without the white space before and the answer's lead-in."""
    check_principle(question.principle_text)
    conversation = render(question.conversation, form=QUESTION)
    return f"{PLAIN_HEADER}{conversation}\n\n\n{question.principle_text}{_options(question)}"


def render_cot(question: Question, reasoning: str | None = None) -> str:
    """The chain-of-thought form: open for the reasoning, or with it for the answer."""
    asked = f"\n\nHuman: {cot_request(question)}\n\nAssistant: {COT_LEAD}"
    if reasoning is None:
        return asked
    return f"{asked} {quoted(reasoning, REASONING)}\n\nHuman:\n{COT_ANSWER}"


def cot_request(question: Question) -> str:
    """What the chain-of-thought form asks, without the turn's marker."""
    check_principle(question.principle_text)
    conversation = "".join(
        f"\n\n{_cot_role(turn)}: {quoted(turn.text, QUESTION)}"
        for turn in question.conversation.turns
    )
    return f"{COT_HEADER}{conversation}\n\n{question.principle_text}{_options(question)}"


def parse_question(text: str) -> Question:
    """The inverse of :func:`render_question`; raises InputError for any other text."""
    body = _between(text, f"\n\n{PLAIN_HEADER}", f"\n\n{ANSWER}")
    head, a, b = _fields(body)
    spoken, _, principle = head.rpartition("\n\n\n")
    try:
        question = Question(parse(spoken, QUESTION), principle, a, b)
    except ValueError as error:
        raise InputError(f"in the question's conversation: {error}") from None
    return _same(question, text, render_question(question))


def parse_cot(text: str) -> Question:
    """The inverse of :func:`render_cot` without reasoning; raises InputError for other texts."""
    body = _between(text, f"\n\nHuman: {COT_HEADER}", f"\n\nAssistant: {COT_LEAD}")
    head, a, b = _fields(body)
    spoken, _, principle = head.rpartition("\n\n")
    before, *parts = _COT_TURN.split(spoken)
    if before or not parts:
        raise InputError(
            "expected a conversation with turns marked 'H: ' and 'A: ' on lines of their own, "
            f"found {spoken[:40]!r}"
        )
    roles: dict[str, Role] = {mark: role for role, mark in _COT_ROLES.items()}
    turns = (
        Turn(role=roles[m], text=unquoted(t, QUESTION))
        for m, t in zip(parts[::2], parts[1::2], strict=True)
    )
    question = Question(Conversation(turns=tuple(turns)), principle, a, b)
    return _same(question, text, render_cot(question))


def slot(principle_text: str) -> str:
    """What stands in the principle's place of an official example (its ``{}``)."""
    return principle_text + _OPTIONS


def imitation(*fields: str) -> str | None:
    """The first text in the fields that imitates a seam of the form; None when there is none."""
    found = (_SEAM.search(field) for field in fields)
    return next((match[0] for match in found if match), None)


def check_principle(text: str) -> None:
    """Raise InputError for a comparison question that cannot stand in the form."""
    if "\n\n" in text or text.strip("\n") != text or quoted(text, QUESTION) != text:
        raise InputError(
            "a comparison question must be one paragraph without the marks of the multiple-choice "
            f"form ('Options:', '(A) [[['), found {text[:60]!r}"
        )


def _options(question: Question) -> str:
    a, b = quoted(question.a, QUESTION), quoted(question.b, QUESTION)
    return f"{_OPTIONS}{_OPEN}{a}{_MIDDLE}{b}{_CLOSE}"


def _cot_role(turn: Turn) -> str:
    if turn.role not in _COT_ROLES:
        raise InputError(f"a comparison shows human and assistant turns, found a {turn.role!r}")
    return _COT_ROLES[turn.role]


def _between(text: str, start: str, end: str) -> str:
    if not text.startswith(start) or not text.endswith(end):
        raise InputError(
            f"expected a question that begins with {start!r} and ends in {end!r}, "
            f"found {text[:40]!r} ... {text[-40:]!r}"
        )
    return text[len(start) : len(text) - len(end)]


def _fields(body: str) -> tuple[str, str, str]:
    """What comes before the options, and the options."""
    for mark in (_OPTIONS + _OPEN, _MIDDLE):
        if body.count(mark) != 1:
            raise InputError(f"expected {mark!r} once in the question, found {body.count(mark)}")
    if not body.endswith(_CLOSE):
        raise InputError(f"expected the options to end in {_CLOSE!r}, found {body[-20:]!r}")
    head, _, options = body.removesuffix(_CLOSE).partition(_OPTIONS + _OPEN)
    a, _, b = options.partition(_MIDDLE)
    return head, unquoted(a, QUESTION), unquoted(b, QUESTION)


def _same(question: Question, text: str, again: str) -> Question:
    if text != again:
        raise InputError(f"the question {text[:40]!r} ... is not in the official form")
    return question
