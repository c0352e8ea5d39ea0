"""Revisions damaged on purpose, to study what bad ones do and which of them are caught.

Small models revise badly: they repeat a sentence, stop in the middle, write word salad, or go on
with the next request; finetuned on that, they collapse (Zhang 2025, arXiv 2504.04918). The faults
are put in by seed here, so that their share is known and the same text is damaged in each run.
"""

from __future__ import annotations

import random
import re

from constitutional.dialogue.shape import flags
from constitutional.runs.records import Damage, Sample
from constitutional.runs.seeds import derive_seed
from constitutional.supervised.settings import DamageConfig


def drawn_damage(config: DamageConfig | None, seed: int, id_: str, number: int) -> Damage | None:
    """What is to be done to the revision of round ``number``; None for nothing, as for most."""
    if config is None:
        return None
    rng = random.Random(derive_seed(seed, "damage", id_, number))
    return rng.choice(config.kinds) if rng.random() < config.share else None


def damaged(sample: Sample, kind: Damage, *, request: str, limit: int) -> Sample | None:
    """The sample with this fault and the flags that its new form has; None where it has no room.

    ``request`` is the critique request of the round, which ``leak`` goes on with; ``limit`` is the
    longest text in tokens, to which ``repeat`` goes on. A text of fewer than two words is left as
    it is. Tokens are counted as the sample's own for each of its words.
    """
    words = sample.text.split()
    if len(words) < 2:
        return None
    rng = random.Random(derive_seed(sample.seed, kind))
    each = sample.tokens / len(words)
    text, ended = sample.text, sample.ended
    match kind:
        case "repeat":
            last = re.split(r"(?<=[.!?])\s+", text)[-1]
            room = limit / each - len(words)
            text = " ".join([text, *[last] * max(1, int(room / len(last.split())))])
            ended = "length"
        case "truncate":
            # the model ends its text too early by itself: no limit cuts it off
            text, ended = " ".join(words[: rng.randrange(1, len(words))]), "eos"
        case "shuffle":
            text = " ".join(rng.sample(words, len(words)))
        case "leak":
            text = f"{text}\n\nCritique Request: {request}"
    tokens = min(limit, round(each * len(text.split())))
    return sample.model_copy(
        update={"text": text, "ended": ended, "tokens": tokens, "flags": flags(text, ended)}
    )
