"""What the RL engines of large models send to a reward service, and what they read of its answer.

Two forms, as they stand in the sources of the projects:

``POST /get_reward``
    OpenRLHF's remote reward model (0.11.2: ``openrlhf/utils/agent.py``, in
    ``SingleTurnAgentExecutor._fetch_rewards_via_http``; ``openrlhf/cli/serve_rm.py`` is its own
    server). Sent: ``query``, whole texts with their special tokens; ``prompts``, the texts that
    they begin with; ``labels``, what stood in the prompt set's label column. Read: ``rewards``,
    ``scores`` and ``extra_logs``, lists of one number for each query.

``POST /score``
    Ours, for the reward functions in :mod:`constitutional.handover.reward`: verl's custom reward
    function (0.9.1: ``verl/experimental/reward_loop/reward_manager/naive.py``) and TRL's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from constitutional.dialogue import Conversation, Turn, parse
from constitutional.dialogue.transcript import opening
from constitutional.engines.base import Style
from constitutional.errors import InputError
from constitutional.preference.combined import Response

#: More answers than this in one request are refused.
MAX_ANSWERS = 1024


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: str
    content: str


class Answer(BaseModel):
    """An answer to be scored, and the messages before it, the last of which is the user's."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Message] = Field(min_length=1)
    response: str


class ScoreRequest(BaseModel):
    """The body of ``/score``."""

    model_config = ConfigDict(extra="forbid")

    answers: list[Answer] = Field(min_length=1, max_length=MAX_ANSWERS)


class RewardRequest(BaseModel):
    """The body of ``/get_reward``; older versions of OpenRLHF send ``query`` alone."""

    model_config = ConfigDict(extra="ignore")

    query: list[str] = Field(min_length=1, max_length=MAX_ANSWERS)
    prompts: list[str] | None = None
    labels: list[Any] | None = None


def answers_of(request: ScoreRequest) -> list[Response]:
    """The answers with their conversations. Raises InputError for messages that are none."""
    return [
        Response(_conversation(answer.messages, f"answer {number}"), answer.response.strip())
        for number, answer in enumerate(request.answers, start=1)
    ]


def queries_of(
    request: RewardRequest,
    *,
    style: Style,
    special_tokens: Sequence[str],
    rewritten: Callable[[str], str],
) -> list[Response]:
    """The answers in OpenRLHF's texts, with the conversations that they answer.

    The label is the conversation as JSON messages, as our prompt sets have it; without one a
    transcript is read from its text, and a chat is refused, since a template cannot be read back.
    ``rewritten`` is a text as it comes back from the tokenizer's ids. Special tokens are taken out
    of the answer, as where we sample. Raises InputError.
    """
    prompts = _as_many(request.prompts, request.query, "prompts")
    labels = _as_many(request.labels, request.query, "labels")
    found = []
    rows = zip(request.query, prompts, labels, strict=True)
    for number, (query, prompt, label) in enumerate(rows, start=1):
        conversation = _labelled(label, f"label {number}")
        if conversation is None or prompt is None:
            if style != "transcript":
                raise InputError(
                    f"query {number} comes without its conversation, which cannot be read back "
                    "from a chat: send it as JSON messages in 'labels', as the prompt set of "
                    "'cai export openrlhf' has it, and its text in 'prompts'"
                )
            found.append(_of_transcript(_bare(query, special_tokens), number))
            continue
        before = prompt if query.startswith(prompt) else rewritten(prompt)
        if not query.startswith(before):
            raise InputError(
                f"query {number} does not begin with its prompt: was it cut? give the policy room "
                "with a larger data.max_len"
            )
        found.append(Response(conversation, _bare(query[len(before) :], special_tokens).strip()))
    return found


def read_body(body: bytes, form: type[BaseModel]) -> Any:
    """The body as ``form``. Raises InputError with one sentence."""
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        what = first["msg"][:1].lower() + first["msg"][1:]
        raise InputError(f"{where}: {what}; expected {_EXPECTED[form]}") from None


_EXPECTED: dict[type[BaseModel], str] = {
    ScoreRequest: "{'answers': [{'messages': [{'role', 'content'}, ...], 'response': text}, ...]}",
    RewardRequest: "{'query': [text, ...], 'prompts': [text, ...], 'labels': [text, ...]}",
}


def _as_many(values: Sequence[Any] | None, queries: Sequence[str], key: str) -> Sequence[Any]:
    if values is None:
        return [None] * len(queries)
    if len(values) != len(queries):
        raise InputError(f"{len(queries)} queries have {len(values)} {key}: send one for each")
    return values


def _labelled(label: Any, where: str) -> Conversation | None:
    """The conversation in a label; None where there is none (OpenRLHF sends "" without one)."""
    if label in (None, ""):
        return None
    try:
        messages = json.loads(label) if isinstance(label, str) else label
        read = [Message.model_validate(message) for message in messages]
    except (ValueError, TypeError):
        raise InputError(
            f"{where} is no conversation as JSON messages, found {label!r:.40}"
        ) from None
    return _conversation(read, where)


def _conversation(messages: Sequence[Message], where: str) -> Conversation:
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        expected = "user" if number % 2 == 0 else "assistant"
        if message.role != expected:
            raise InputError(
                f"message {number + 1} of {where} has the role {message.role!r:.20}, expected "
                f"{expected!r}: user and assistant alternate, and there is no system message"
            )
        turns.append(
            Turn(role="human" if expected == "user" else "assistant", text=message.content)
        )
    if not turns or turns[-1].role != "human":
        raise InputError(f"{where} must end in a message of the user, which the response answers")
    return Conversation(turns=tuple(turns))


def _of_transcript(text: str, number: int) -> Response:
    before, marker, answer = text.rpartition(opening("assistant"))
    if not marker:
        raise InputError(f"query {number} is no transcript: it has no turn of the assistant")
    try:
        conversation = parse(before)
    except ValueError as error:
        raise InputError(f"query {number} is no transcript: {error}") from None
    if not conversation.turns or conversation.last.role != "human":
        raise InputError(f"query {number}: the turn before the answer must be the human's")
    return Response(conversation, answer.strip())


def _bare(text: str, special_tokens: Sequence[str]) -> str:
    for token in special_tokens:
        text = text.replace(token, "")
    return text
