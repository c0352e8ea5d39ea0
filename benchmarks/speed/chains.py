"""Critique-revision chains: 4 rounds with 5 few-shots, by our engine and by ``generate``.

The peer works through the same stage with ``generate`` behind the engine's seam: the same prompts,
stop strings and rebuilt transcripts, at its best batch size. It reads every prompt whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.speed import material
from benchmarks.speed.floor import Need, Shape, distinct_positions, forward_flops, sampling_bytes
from benchmarks.speed.generating import GenerateEngine
from benchmarks.speed.measuring import Clock, Floor, Measured, Side, best_of
from benchmarks.speed.options import Options
from benchmarks.speed.recording import RecordingEngine

from constitutional.dialogue import PromptRecord
from constitutional.engines.base import Engine, TextPrompt
from constitutional.evaluation.behaviour import revision_metrics
from constitutional.microworld.oracle import Oracle
from constitutional.runs.records import Chain
from constitutional.supervised import CritiqueRevision, CritiqueRevisionConfig

#: As in the demo's recipe, but for the few-shots.
CONFIG = CritiqueRevisionConfig(rounds=4, few_shots=material.FEW_SHOTS, max_new_tokens=48)
BATCH_SIZE = 128
PEER_BATCH_SIZES = [16, 32, 64, 128, 256]


def ours(options: Options) -> Side:
    """:class:`CritiqueRevision` with the local engine."""
    folder = material.model_folder("helpful", options)
    engine = RecordingEngine.begin(folder, options, BATCH_SIZE)
    prompts = _prompts(options)
    _chains(engine, prompts[:4], 0)

    def round_(number: int) -> Measured:
        engine.forget()
        measured, chains = _measured(engine, prompts, number)
        return Measured(
            measured.seconds, measured.work, measured.quality, floor=_floor(engine, chains)
        )

    return Side(round_, {"batch_size": BATCH_SIZE})


def peer(options: Options) -> Side:
    """The same stage with ``generate``; its batch size is tried on one round of chains."""
    engine = GenerateEngine.load(
        material.model_folder("helpful", options),
        device=options.device,
        dtype=options.dtype,
        batch_size=PEER_BATCH_SIZES[0],
    )
    prompts = _prompts(options)
    _chains(engine, prompts[:4], 0)

    def seconds(size: int) -> float:
        """Of a prompt, in full batches."""
        engine.batch_size, clock = size, Clock()
        tried = prompts[: max(size, 64)]
        with clock():
            _chains(engine, tried, 0, rounds=1)
        return clock.seconds / len(tried)

    sizes = [size for size in PEER_BATCH_SIZES if size <= len(prompts)] or PEER_BATCH_SIZES[:1]
    engine.batch_size = best_of(sizes, seconds)
    return Side(
        lambda number: _measured(engine, prompts, number)[0], {"batch_size": engine.batch_size}
    )


def _prompts(options: Options) -> list[PromptRecord]:
    return material.prompts("supervised_red_team", "red_team", options.sized(256, 8))


def _chains(
    engine: Engine, prompts: Sequence[PromptRecord], seed: int, rounds: int = CONFIG.rounds
) -> list[Chain]:
    config = CONFIG.model_copy(update={"rounds": rounds})
    return CritiqueRevision(engine, material.constitution(), config, seed).chains(prompts)


def _measured(
    engine: Engine, prompts: Sequence[PromptRecord], number: int
) -> tuple[Measured, list[Chain]]:
    clock = Clock()
    with clock():
        chains = _chains(engine, prompts, number)
    last = revision_metrics(chains, Oracle())[-1]
    quality = {name: last[name].value for name in ("harmful_compliance", "ill_formed")}
    texts = [s for c in chains for r in c.rounds for s in (r.critique, r.revision) if s is not None]
    quality["tokens_per_text"] = sum(text.tokens for text in texts) / len(texts)
    return Measured(clock.seconds, len(chains), quality), chains


def _floor(engine: RecordingEngine, chains: Sequence[Chain]) -> Floor:
    """Of all that was sampled: each distinct beginning once, the few-shots too."""
    shape = Shape.of(engine.config)
    shots = material.few_shot_text()
    shared = len(engine.ids(TextPrompt(shots)))
    rows: list[list[int]] = []
    contexts: list[int] = []
    for prompt, completion in engine.sampled:
        before = engine.ids(prompt)
        rows.append([*before, *completion.token_ids[:-1]])
        own = len(before) - (shared if material.begins_with(prompt, shots) else 0)
        contexts += range(own, own + len(completion.token_ids))
    steps = max(_tokens(chain) for chain in chains)
    flops = forward_flops(shape, distinct_positions(rows), heads=len(contexts))
    return Floor(
        Need(flops, sampling_bytes(shape, contexts, steps, engine.number_bytes)), shape, BATCH_SIZE
    )


def _tokens(chain: Chain) -> int:
    """All that was sampled for a chain, one after the other."""
    rounds = [s for r in chain.rounds for s in (r.critique, r.revision) if s is not None]
    return sum(sample.tokens for sample in (chain.response, *rounds))
