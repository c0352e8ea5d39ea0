"""The data of the supervised stage: responses, critiques and revisions (Bai et al. 2022, s. 3.1).

For each red-team prompt the helpful model responds; then each round draws a principle, has the last
version criticised by it, and has it revised. After a round the transcript is rebuilt as the prompt
and the revision, as if that had been the response, so no earlier critique is in context.

Departures from the paper, each needed where models are small:

- A version whose shape is broken (see :mod:`constitutional.dialogue.shape`) is kept in the record
  but not built upon: the next round criticises the last version that was whole.
- ``no_fault`` (off by default) ends a chain once a critique finds nothing.
- ``damage`` (off by default) spoils a share of the revisions, for studies of what that does.
- A chain ends where a server fails to write its response or a critique: nothing is built upon what
  is not there.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from constitutional.constitution import Constitution, Principle
from constitutional.dialogue import Conversation, PromptRecord, prompt_for
from constitutional.dialogue.conversation import Role
from constitutional.engines.base import Engine, remembering
from constitutional.engines.draw import draw
from constitutional.errors import InputError
from constitutional.runs.records import Chain, Damage, Reply, Round, Sample
from constitutional.runs.seeds import derive_seed
from constitutional.supervised.damage import damaged, drawn_damage
from constitutional.supervised.settings import CritiqueRevisionConfig


@dataclass
class _Growing:
    """A chain while it is made. ``whole`` is the last version whose shape is not broken."""

    prompt: PromptRecord
    response: Sample
    rounds: list[Round]
    whole: str
    done: bool = False


class _Draft(NamedTuple):
    """A chain within a round: its principle, what was said so far, and the critique in it."""

    chain: _Growing
    principle: Principle
    spoken: Conversation
    critique: Sample | None = None

    @property
    def id(self) -> str:
        return self.chain.prompt.id


class CritiqueRevision:
    """Makes chains and replies with one engine, one constitution and one run seed.

    ``critic`` writes the critiques where it is given; the engine responds and revises all the same.
    """

    def __init__(
        self,
        engine: Engine,
        constitution: Constitution,
        config: CritiqueRevisionConfig,
        seed: int,
        critic: Engine | None = None,
    ):
        self._engine = engine
        self._critic = critic
        self._constitution = constitution
        self._config = config
        self._seed = seed
        self._few_shots = constitution.few_shots.critique_revision[: config.few_shots]
        if not constitution.critiquing:
            raise InputError(
                f"constitution {constitution.name!r} has no principle that can critique and revise"
            )

    def chains(self, prompts: Sequence[PromptRecord]) -> list[Chain]:
        """One chain for each prompt, in order."""
        with remembering(self._engine, self._critic):
            return self._chains(prompts)

    def _chains(self, prompts: Sequence[PromptRecord]) -> list[Chain]:
        responses = self._write([(p.id, p.conversation) for p in prompts], "assistant", "response")
        growing = [
            _Growing(prompt, response, [], response.text, done=response.ended == "failed")
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        for number in range(1, self._config.rounds + 1):
            self._round([chain for chain in growing if not chain.done], number)
        return [self._record(chain) for chain in growing]

    def replies(self, prompts: Sequence[PromptRecord]) -> list[Reply]:
        """The helpful model's responses to each helpful prompt, in order."""
        drawn = [
            self._write([(p.id, p.conversation) for p in prompts], "assistant", f"reply {number}")
            for number in range(self._config.helpful_responses)
        ]
        return [
            Reply(
                id=prompt.id,
                prompt=prompt.conversation,
                tags=prompt.tags,
                responses=responses,
                engine=self._engine.name,
            )
            for prompt, responses in zip(prompts, zip(*drawn, strict=True), strict=True)
        ]

    def principle_for(self, prompt_id: str, number: int) -> Principle:
        """The principle that round ``number`` draws for a prompt, decided by the seed alone."""
        rng = random.Random(derive_seed(self._seed, "principle", prompt_id, number))
        return self._constitution.draw_critique_principle(rng)

    def _round(self, chains: Sequence[_Growing], number: int) -> None:
        drafts = [
            _Draft(
                chain,
                self.principle_for(chain.prompt.id, number),
                chain.prompt.conversation.add("assistant", chain.whole),
            )
            for chain in chains
        ]
        if self._config.critique:
            drafts = self._criticised(drafts, number)
        asked = [(d.id, d.spoken.add("revision_request", d.principle.revision)) for d in drafts]
        revisions = self._write(asked, "revision", f"revision {number}", shots=True)
        for draft, sampled in zip(drafts, revisions, strict=True):
            chain, principle, _, critique = draft
            revision, damage = self._damaged(draft, sampled, number)
            chain.rounds.append(
                Round(principle=principle.id, critique=critique, revision=revision, damage=damage)
            )
            chain.whole = revision.text if revision.usable else chain.whole
            chain.done = critique is not None and self._finds_nothing(critique.text)

    def _damaged(
        self, draft: _Draft, revision: Sample, number: int
    ) -> tuple[Sample, Damage | None]:
        """The revision as a study wants it, and what was done to it; nearly always nothing."""
        kind = drawn_damage(self._config.damage, self._seed, draft.id, number)
        if kind is None or revision.ended == "failed":
            return revision, None
        found = damaged(
            revision, kind, request=draft.principle.critique, limit=self._config.max_new_tokens
        )
        return (revision, None) if found is None else (found, kind)

    def _criticised(self, drafts: Sequence[_Draft], number: int) -> list[_Draft]:
        """With their critiques; a chain whose critique a server fails to write is done."""
        asked = [(d.id, d.spoken.add("critique_request", d.principle.critique)) for d in drafts]
        critiques = self._write(asked, "critique", f"critique {number}", shots=True)
        for draft, critique in zip(drafts, critiques, strict=True):
            draft.chain.done = critique.ended == "failed"
        return [
            draft._replace(spoken=spoken.add("critique", critique.text), critique=critique)
            for draft, (_, spoken), critique in zip(drafts, asked, critiques, strict=True)
            if not draft.chain.done
        ]

    def _finds_nothing(self, critique: str) -> bool:
        pattern = self._config.no_fault
        return pattern is not None and re.search(pattern, critique) is not None

    def _write(
        self,
        asked: Sequence[tuple[str, Conversation]],
        role: Role,
        step: str,
        *,
        shots: bool = False,
    ) -> list[Sample]:
        """Sample the turn ``role`` of each conversation. Few-shots show critiques and revisions."""
        engine = self._critic if role == "critique" and self._critic else self._engine
        prompts = [
            prompt_for(conversation, role, engine.style, self._few_shots if shots else ())
            for _, conversation in asked
        ]
        seeds = [derive_seed(self._seed, step, record_id) for record_id, _ in asked]
        return draw(engine, prompts, self._config.sampling, seeds)

    def _record(self, chain: _Growing) -> Chain:
        return Chain(
            id=chain.prompt.id,
            prompt=chain.prompt.conversation,
            tags=chain.prompt.tags,
            response=chain.response,
            rounds=tuple(chain.rounds),
            engine=self._engine.name,
            critic=None if self._critic is None else self._critic.name,
            constitution=self._constitution.fingerprint,
        )
