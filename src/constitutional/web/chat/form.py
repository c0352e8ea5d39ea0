"""The chat's form: what it asks, read from a request and given back to the page."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from constitutional.errors import InputError
from constitutional.web.chat.answering import (
    LONGEST_MESSAGE,
    MOST_POLICIES,
    MOST_ROUNDS,
    Asked,
    Event,
    Exchange,
    Step,
    Trouble,
)
from constitutional.web.chat.policies import Policy

_BEFORE = TypeAdapter(tuple[Exchange, ...])
#: Who is asked unless somebody says otherwise, as far as the runs have them.
_AT_FIRST = ("helpful", "sl_cai", "rl_cai")


@dataclass(frozen=True)
class ChatForm:
    """A form as it stands in a page. What was said before is checked, and nothing else yet."""

    message: str = ""
    chosen: tuple[str, ...] = ()
    before: tuple[Exchange, ...] = ()
    rounds: str = "0"
    seed: str = field(default_factory=lambda: str(secrets.randbelow(2**31)))

    @classmethod
    def empty(cls, policies: Mapping[str, Policy]) -> ChatForm:
        """A new conversation with two policies or more, if there are as many."""
        usual = [key for key, policy in policies.items() if policy.name in _AT_FIRST]
        return cls(chosen=tuple(usual if len(usual) > 1 else [*policies][:2]))

    @classmethod
    def of(cls, form: Sequence[tuple[str, object]]) -> ChatForm:
        """What a request brought. Raises InputError where what was said before is no record."""
        given = {key: str(value) for key, value in form}
        try:
            before = _BEFORE.validate_json(given.get("before", "[]"))
        except ValidationError:
            raise InputError("what was said before is damaged: begin a new conversation") from None
        return cls(
            # browsers send the ends of lines as the standard for forms says
            message=given.get("message", "").replace("\r\n", "\n").strip(),
            chosen=tuple(dict.fromkeys(str(value) for key, value in form if key == "policy")),
            before=before,
            rounds=given.get("rounds", "0"),
            seed=given.get("seed", "0"),
        )

    @property
    def carried(self) -> str:
        """What was said before, as the page carries it."""
        return json.dumps([exchange.model_dump() for exchange in self.before])

    def asked(self, policies: Mapping[str, Policy]) -> tuple[Asked, list[Policy]]:
        """What is asked, and whom. Raises InputError for what cannot be asked."""
        missing = [key for key in self.chosen if key not in policies]
        if missing or not 0 < len(self.chosen) <= MOST_POLICIES:
            raise InputError(f"choose one to {MOST_POLICIES} policies that are listed")
        if not 0 < len(self.message) <= LONGEST_MESSAGE:
            raise InputError(f"write a message of at most {LONGEST_MESSAGE} characters")
        try:
            asked = Asked(
                message=self.message,
                before=self.before,
                rounds=int(self.rounds),
                seed=int(self.seed),
            )
        except ValueError as error:  # pydantic's own is one
            raise InputError(
                f"the rounds are 0 to {MOST_ROUNDS}, and the seed is a whole number from 0 on"
            ) from error
        return asked, [policies[key] for key in self.chosen]

    def after(self, exchange: Exchange | None) -> ChatForm:
        """The form of the page with the answers: empty again, or as it was without an answer."""
        if exchange is None:
            return self
        return ChatForm(chosen=self.chosen, before=(*self.before, exchange), rounds=self.rounds)


class Answered:
    """What comes of a message: each policy's steps, or why there are none."""

    def __init__(self, policies: Sequence[Policy]):
        self.steps: dict[str, dict[int, Step]] = {policy.key: {} for policy in policies}
        self.trouble: dict[str, str] = {}

    def hear(self, event: Event) -> None:
        """The newest text of a step counts."""
        if isinstance(event, Trouble):
            self.trouble[event.policy] = event.sentence
        else:
            self.steps[event.policy][event.number] = event

    def exchange(self, message: str) -> Exchange | None:
        """What the conversation goes on from; None where a policy did not come to its end."""
        answers = {
            key: [step.text for step in steps.values() if step.role != "critique"][-1:]
            for key, steps in self.steps.items()
        }
        if self.trouble or not all(answers.values()):
            return None
        return Exchange(message=message, answers={key: text[0] for key, text in answers.items()})
