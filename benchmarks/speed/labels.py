"""AI feedback: 5 few-shots, both orders, one principle, by our engine and by lm-eval.

The peer is lm-eval's ``HFLM.loglikelihood`` of " (A)" and " (B)" after the same texts, behind the
engine's seam, at its best batch size. The log-probabilities of both sides are compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from benchmarks.speed import material
from benchmarks.speed.floor import Need, Shape, distinct_positions, forward_flops
from benchmarks.speed.generating import GenerateEngine
from benchmarks.speed.measuring import Clock, Floor, Measured, Side, best_of
from benchmarks.speed.options import Options
from benchmarks.speed.recording import RecordingEngine

from constitutional.engines.base import Engine, Prompt, TextPrompt
from constitutional.evaluation.verdicts import Preference
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair
from constitutional.microworld import language as say
from constitutional.microworld.oracle import Oracle

CONFIG = FeedbackConfig(few_shots=material.FEW_SHOTS, orders="both")
BATCH_SIZE = 128
PEER_BATCH_SIZES = [1, 4, 8, 16, 32, 64]

Weighed = Sequence[tuple[Prompt, tuple[float, ...]]]


class LmEvalEngine(GenerateEngine):
    """Weighs choices by lm-eval."""

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int):
        super().__init__(model, tokenizer, batch_size=batch_size)
        self.weighed: list[tuple[Prompt, tuple[float, ...]]] = []
        self._asked: dict[int, Any] = {}

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """The log-likelihood of each choice after each text."""
        from lm_eval.api.instance import Instance

        texts = [prompt.text for prompt in prompts if isinstance(prompt, TextPrompt)]
        asked = [(text, choice) for text in texts for choice in choices]
        model = self._asked_in(self.batch_size)
        requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(asked)]
        found = [score for score, _ in model.loglikelihood(requests, disable_tqdm=True)]
        many = len(choices)
        scores = [tuple(found[at : at + many]) for at in range(0, len(found), many)]
        self.weighed = list(zip(prompts, scores, strict=True))
        return scores

    def _asked_in(self, batch_size: int) -> Any:
        """lm-eval's model for a batch size, made once."""
        from lm_eval.models.huggingface import HFLM

        if batch_size not in self._asked:
            self._asked[batch_size] = HFLM(
                pretrained=self.model,
                tokenizer=self.tokenizer,
                batch_size=batch_size,
                device=str(self.model.device),
            )
        return self._asked[batch_size]


def ours(options: Options) -> Side:
    """:class:`FeedbackModel` with the local engine."""
    folder = material.model_folder("pretrained", options)
    engine = RecordingEngine.begin(folder, options, BATCH_SIZE)
    pairs = pairs_of(options)
    _seconds(engine, pairs[: options.sized(64, 4)], 0)  # as many as the peer has seen by its turn

    def round_(number: int) -> Measured:
        engine.forget()
        seconds, quality = _seconds(engine, pairs, number)
        detail = by_text(engine.weighed)
        return Measured(seconds, len(pairs), quality, detail, floor=_floor(engine))

    return Side(round_, {"batch_size": BATCH_SIZE})


def peer(options: Options) -> Side:
    """The same stage with lm-eval."""
    engine = LmEvalEngine.load(
        material.model_folder("pretrained", options),
        device=options.device,
        dtype=options.dtype,
        batch_size=1,
    )
    assert isinstance(engine, LmEvalEngine)
    pairs = pairs_of(options)
    _seconds(engine, pairs[:2], 0)

    def seconds(size: int) -> float:
        engine.batch_size = size
        return _seconds(engine, pairs[: options.sized(64, 4)], 0)[0]

    engine.batch_size = best_of(PEER_BATCH_SIZES, seconds)

    def round_(number: int) -> Measured:
        taken, quality = _seconds(engine, pairs, number)
        return Measured(taken, len(pairs), quality, by_text(engine.weighed))

    return Side(round_, {"batch_size": engine.batch_size})


def pairs_of(options: Options) -> list[Pair]:
    """A helping answer and a refusal to each of the first prompts, in turning order."""
    pairs = []
    asked = material.prompts("preference_red_team", "red_team", options.sized(256, 8))
    for number, record in enumerate(asked):
        request = say.read_request(record.conversation)
        assert request is not None and request.harm is not None
        answers = say.help_with(request, number % 3), say.refuse(request, number % 2, request.harm)
        a, b = answers if number % 2 else answers[::-1]
        pairs.append(Pair(record.id, record.conversation, a, b))
    return pairs


def by_text(weighed: Weighed) -> dict[str, list[float]]:
    """The log-probabilities by a mark of the text that they follow."""
    texts = [(prompt.text, scores) for prompt, scores in weighed if isinstance(prompt, TextPrompt)]
    return {hashlib.sha256(text.encode()).hexdigest()[:16]: list(s) for text, s in texts}


def _seconds(engine: Engine, pairs: Sequence[Pair], seed: int) -> tuple[float, dict[str, float]]:
    """The time of all labels, and how many of them the oracle agrees with."""
    clock = Clock()
    with clock():
        labelled = FeedbackModel(engine, material.constitution(), CONFIG, seed).label(pairs)
    oracle, right = Oracle(), 0
    for c in labelled:
        better: Preference = "a" if c.prob_a is not None and c.prob_a > 0.5 else "b"
        right += oracle.prefer_harmless(c.prompt, c.a, c.b) == better
    return clock.seconds, {"agreement": right / len(labelled)}


def _floor(engine: RecordingEngine) -> Floor:
    """Of all questions: each distinct beginning once, one row of logits for each."""
    shape = Shape.of(engine.config)
    rows = [engine.ids(prompt) for prompt, _ in engine.weighed]
    flops = forward_flops(shape, distinct_positions(rows), heads=len(rows))
    weights = shape.weights + shape.hidden * shape.vocabulary
    return Floor(Need(flops, float(weights * engine.number_bytes)), shape, 4096)
