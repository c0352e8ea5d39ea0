"""New prompts by few-shot prompting of the pretrained model (Bai et al. 2022, section 3.2).

The paper adds 140,335 red-team prompts to 42,496 human-written ones, made by few-shot prompting a
pretrained model; 2204.05862 did so for helpful prompts, with about 10 human queries as few-shots.
What the papers leave open is decided here: each attempt draws its own few-shots, a text that
repeats another or is malformed is rejected and tried again, and every attempt is kept with its
cause. Whether a prompt is of its kind is nobody's to say here: the list alone asks for it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.prompts import PromptKind, PromptRecord, prompt_id
from constitutional.engines.base import Engine
from constitutional.engines.draw import draw
from constitutional.red_teaming.duplicates import Texts, words_of
from constitutional.red_teaming.few_shots import few_shot_pool, list_prompt
from constitutional.red_teaming.records import Account, Attempt, Cause, Place, account
from constitutional.red_teaming.settings import RedTeamingConfig
from constitutional.runs.records import Sample
from constitutional.runs.seeds import derive_seed

#: The tag by which a made prompt is told from a human-written one in every later record.
TAG = "model_made"

_BROKEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffd]")


class Generated(NamedTuple):
    """New prompts, each once, and what became of all attempts."""

    prompts: tuple[PromptRecord, ...]
    account: Account


def make_prompts(
    engine: Engine,
    human: Sequence[PromptRecord],
    *,
    kind: PromptKind,
    count: int,
    settings: RedTeamingConfig | None = None,
    seed: int = 0,
    avoid: Sequence[PromptRecord] = (),
    block: int = 128,
) -> Generated:
    """Up to ``count`` new prompts of a kind, after the example of the ``human`` ones.

    ``avoid`` are prompts that are not shown and that no new one may repeat, such as those for the
    evaluation. ``block`` prompts are worked on at once. Raises InputError where too few prompts
    can be few-shots.
    """
    writer = PromptWriter(engine, human, kind, settings or RedTeamingConfig(), seed, avoid)
    places = [
        place
        for start in range(0, count, block)
        for place in writer.places(range(start, min(start + block, count)))
    ]
    prompts = tuple(place.prompt for place in places if place.prompt is not None)
    return Generated(prompts, account(kind, places))


class PromptWriter:
    """Makes prompts block by block, and knows those it made, so that none comes twice.

    The draws of a place follow from seed, kind, its number and the number of the try alone.
    """

    def __init__(
        self,
        engine: Engine,
        human: Sequence[PromptRecord],
        kind: PromptKind,
        config: RedTeamingConfig,
        seed: int,
        avoid: Sequence[PromptRecord] = (),
    ):
        self.engine, self.kind, self.config, self.seed = engine, kind, config, seed
        self.pool = few_shot_pool(human, config)
        self._human = Texts(config.near_words, config.near_share)
        self._made = Texts(config.near_words, config.near_share)
        for record in (*human, *avoid):
            for turn in record.conversation.turns:
                if turn.role == "human":
                    self._human.add(record.id, turn.text)

    def remember(self, places: Iterable[Place]) -> None:
        """Take in what was made before, in a session that was interrupted."""
        for place in places:
            if place.prompt is not None:
                self._made.add(place.prompt.id, place.prompt.conversation.last.text)

    def places(self, numbers: Sequence[int]) -> list[Place]:
        """A block of places, each tried until it is filled or has had its tries."""
        attempts: dict[int, list[Attempt]] = {number: [] for number in numbers}
        made: dict[int, PromptRecord] = {}
        for trial in range(self.config.tries):
            left = [number for number in numbers if number not in made]
            shown = [self._few_shots(number, trial) for number in left]
            samples = self._write(left, trial, shown)
            for number, shots, sample in zip(left, shown, samples, strict=True):
                attempt = self._attempt(shots, sample)
                attempts[number].append(attempt)
                if attempt.rejected is None:
                    made[number] = self._take(sample.text)
        return [
            Place(number=number, prompt=made.get(number), attempts=tuple(attempts[number]))
            for number in numbers
        ]

    def _few_shots(self, number: int, trial: int) -> list[PromptRecord]:
        rng = random.Random(derive_seed(self.seed, self.kind, "few-shots", number, trial))
        return rng.sample(self.pool, self.config.few_shots)

    def _write(
        self, numbers: Sequence[int], trial: int, shown: Sequence[Sequence[PromptRecord]]
    ) -> list[Sample]:
        """The next line of the list of each place."""
        if not numbers:
            return []
        lists = [[record.conversation.last.text.strip() for record in shots] for shots in shown]
        return draw(
            self.engine,
            [list_prompt(texts, self.kind, self.engine.style, self.config) for texts in lists],
            self.config.sampling,
            [derive_seed(self.seed, self.kind, "prompt", number, trial) for number in numbers],
        )

    def _attempt(self, shots: Sequence[PromptRecord], sample: Sample) -> Attempt:
        rejected, like = wrong_form(sample), None
        if rejected is None:
            rejected, like = self._repeats(sample.text, shots)
        ids = tuple(record.id for record in shots)
        return Attempt(few_shots=ids, sample=sample, rejected=rejected, like=like)

    def _repeats(
        self, text: str, shots: Sequence[PromptRecord]
    ) -> tuple[Cause, str] | tuple[None, None]:
        """What a text repeats and the id of that, if anything."""
        words = words_of(text)
        for record in shots:
            if words_of(record.conversation.last.text) == words:
                return "few_shot", record.id
        if like := self._human.equal(text):
            return "human", like
        if like := self._made.equal(text):
            return "generated", like
        if like := self._human.near(text) or self._made.near(text):
            return "near", like
        return None, None

    def _take(self, text: str) -> PromptRecord:
        """The text as a prompt, which from now on is known."""
        conversation = Conversation.of(text)
        record = PromptRecord(
            id=f"model-{prompt_id(conversation)}",
            conversation=conversation,
            kind=self.kind,
            source=self.engine.name,
            tags=(TAG,),
        )
        self._made.add(record.id, text)
        return record


def wrong_form(sample: Sample) -> Cause | None:
    """What is wrong with the form of a line, if anything."""
    if "empty" in sample.flags:
        return "empty"
    if "cut_off" in sample.flags:
        return "cut_off"
    return "form" if sample.flags or _BROKEN.search(sample.text) else None
