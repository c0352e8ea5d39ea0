"""One message, asked of several policies at once: what each writes, step by step, as it comes.

A policy answers; where it is to revise, it then criticises its answer by a principle of its run's
constitution and revises it, by the code of the supervised stage and with a draw of its own for each
seed. Each policy has its own thread, and all tell one queue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from constitutional.constitution import Principle
from constitutional.dialogue import Conversation, PromptRecord, prompt_for, prompt_id
from constitutional.engines.base import (
    Capabilities,
    Completion,
    Engine,
    Prompt,
    SamplingParams,
    SpeaksAloud,
    Style,
)
from constitutional.engines.draw import draw
from constitutional.errors import ConstitutionalError, InputError
from constitutional.runs.seeds import derive_seed
from constitutional.supervised import CritiqueRevision
from constitutional.web.chat.policies import Policy

Role = Literal["response", "critique", "revision"]
MOST_ROUNDS = 4
MOST_POLICIES = 6
LONGEST_MESSAGE = 4000


class Step(BaseModel):
    """A text of a policy so far. ``number`` counts its texts from 0. ``principle`` is what a round
    goes by, with the first text of the round. ``done`` when nothing more will come of this text.
    """

    model_config = ConfigDict(frozen=True)

    policy: str
    number: int
    role: Role
    text: str
    principle: str = ""
    principle_text: str = ""
    done: bool = False


class Trouble(BaseModel):
    """Why a policy did not answer."""

    model_config = ConfigDict(frozen=True)

    policy: str
    sentence: str


Event = Step | Trouble
Tell = Callable[[Event], None]


class Exchange(BaseModel):
    """A message, and what each policy said to it in the end, by the policies' keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    message: str
    answers: dict[str, str]


class Asked(BaseModel):
    """A message after what was said before. ``rounds`` of critique and revision, 0 for none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    message: str = Field(min_length=1, max_length=LONGEST_MESSAGE)
    before: tuple[Exchange, ...] = ()
    rounds: int = Field(default=0, ge=0, le=MOST_ROUNDS)
    seed: int = Field(default=0, ge=0, lt=2**31)

    def conversation(self, policy: str) -> Conversation:
        """What this policy is asked: its own answers stand between the messages."""
        texts = []
        for exchange in self.before:
            if policy not in exchange.answers:
                raise InputError("this policy was not asked before: begin a new conversation")
            texts += [exchange.message, exchange.answers[policy]]
        return Conversation.of(*texts, self.message)


class Stopped(Exception):
    """Nobody listens any more."""


def ask(policies: Sequence[Policy], asked: Asked, tell: Tell, stopped: threading.Event) -> None:
    """Ask all at once and tell everything that they write; returns when the last has ended.

    Once ``stopped`` is set they end with the next word.
    """

    def heard(event: Event) -> None:
        if stopped.is_set():
            raise Stopped
        tell(event)

    with ThreadPoolExecutor(len(policies), thread_name_prefix="chat") as threads:
        asking = [threads.submit(_ask_one, policy, asked, heard) for policy in policies]
    for each in asking:
        each.result()


def _ask_one(policy: Policy, asked: Asked, tell: Tell) -> None:
    try:
        conversation = asked.conversation(policy.key)
        policy.check(asked.message)
        with policy.engine() as engine:
            if asked.rounds:
                _revise(policy, engine, conversation, asked, tell)
            else:
                _answer(policy, engine, conversation, asked, tell)
    except Stopped:
        pass
    except ConstitutionalError as error:
        tell(Trouble(policy=policy.key, sentence=str(error)))
    except Exception:
        tell(Trouble(policy=policy.key, sentence="the model failed; the server's log says how"))
        raise


def _answer(
    policy: Policy, engine: Engine, conversation: Conversation, asked: Asked, tell: Tell
) -> None:
    aloud = _Aloud(engine, _Steps(policy.key, tell))
    seed = derive_seed(asked.seed, "response", prompt_id(conversation))
    prompt = prompt_for(conversation, "assistant", engine.style)
    draw(aloud, [prompt], policy.run.sampling, [seed])


def _revise(
    policy: Policy, engine: Engine, conversation: Conversation, asked: Asked, tell: Tell
) -> None:
    constitution = policy.run.constitution
    if constitution is None:
        raise InputError("the run has no constitution to revise by")
    settings = policy.run.revising.model_copy(update={"rounds": asked.rounds})
    record = PromptRecord(
        id=prompt_id(conversation), conversation=conversation, kind="red_team", source="chat"
    )
    steps = _Steps(policy.key, tell)
    stage = CritiqueRevision(_Aloud(engine, steps), constitution, settings, asked.seed)
    steps.expect(
        [stage.principle_for(record.id, number + 1) for number in range(asked.rounds)],
        critiques=settings.critique,
    )
    stage.chains([record])


@dataclass
class _Steps:
    """Gives the texts that an engine writes, one after the other, their places in a chain."""

    policy: str
    tell: Tell

    def __post_init__(self) -> None:
        self._plan: list[tuple[Role, Principle | None]] = [("response", None)]
        self._number = -1

    def expect(self, principles: Sequence[Principle], *, critiques: bool) -> None:
        """After the response a critique, if any, and a revision by each principle."""
        for principle in principles:
            if critiques:
                self._plan += [("critique", principle), ("revision", None)]
            else:
                self._plan.append(("revision", principle))

    def begin(self) -> None:
        """The next text."""
        self._number += 1
        self.say("")

    def say(self, text: str, *, done: bool = False) -> None:
        """The text so far."""
        role, principle = self._plan[self._number]
        self.tell(
            Step(
                policy=self.policy,
                number=self._number,
                role=role,
                text=text.strip(),
                principle="" if principle is None else principle.id,
                principle_text="" if principle is None else principle.text,
                done=done,
            )
        )


class _Aloud:
    """An engine that tells each text of a chain while it is written. See :class:`Engine`."""

    def __init__(self, engine: Engine, steps: _Steps):
        self._engine, self._steps = engine, steps

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def fingerprint(self) -> str:
        return self._engine.fingerprint

    @property
    def style(self) -> Style:
        return self._engine.style

    @property
    def capabilities(self) -> Capabilities:
        return self._engine.capabilities

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        self._steps.begin()
        if isinstance(self._engine, SpeaksAloud):
            completions = self._engine.sample_aloud(
                prompts, params, seeds, lambda _, text: self._steps.say(text)
            )
        else:
            completions = self._engine.sample(prompts, params, seeds)
        self._steps.say(completions[0].text, done=True)
        return completions

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        return self._engine.choice_logprobs(prompts, choices)

    def close(self) -> None:
        self._engine.close()
