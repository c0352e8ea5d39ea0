"""Makes everything that ships with the microworld again, from a seed: ``cai microworld build``.

Corpus, tokenizer, pretrained model, helpful-only model, prompt files. Each step that is done is not
done again; the pretraining goes on from its last checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from constitutional.dialogue import Conversation
from constitutional.errors import InputError, nearest
from constitutional.microworld.contrasts import Contrasts
from constitutional.microworld.corpus import Corpus
from constitutional.microworld.midtraining import PHASES, Phase, midtrain
from constitutional.microworld.pretrain import (
    CONTEXT,
    SIZES,
    PretrainConfig,
    new_model,
    pretrain,
    tokenized_corpus,
)
from constitutional.microworld.prompts import write_prompt_files
from constitutional.microworld.splits import purpose_of, seen_requests
from constitutional.microworld.tokenizer import build_tokenizer
from constitutional.runs.progress import Progress
from constitutional.supervised.finetune import finetune
from constitutional.supervised.settings import FinetuneConfig

_DOCUMENTS_FOR_VOCABULARY = 20_000

HELPFUL = FinetuneConfig(learning_rate=3e-4, batch_size=32, checkpoint_steps=50)


@dataclass(frozen=True)
class HelpfulData:
    """What the helpful-only model is finetuned on: answers that help with everything asked.

    It must go on writing critiques and revisions, so rounds of those are among its data: without
    enough of them it forgets how. ``contrasts`` are pairs of rounds that differ in the principle
    alone: without them it finds harm of which the principle does not speak (``LOG.md``).
    ``comparisons`` are those with step-by-step reasoning, which it is asked for as the feedback
    model with a chain of thought.
    """

    answers: int = 3_000
    rounds: int = 6_000
    contrasts: int = 3_000
    comparisons: int = 2_000


def build_microworld(
    out: Path,
    *,
    size: str,
    seed: int,
    tokens: int | None = None,
    helpful: HelpfulData | None = None,
) -> None:
    """Make everything in ``out``, as it lies in the package.

    A call that was killed goes on; raises InputError when ``out`` was begun with other settings.
    """
    if size not in SIZES:
        raise InputError(f"no size is called {size!r}; {nearest(size, SIZES)}")
    config = PretrainConfig() if tokens is None else PretrainConfig(tokens=tokens)
    out.mkdir(parents=True, exist_ok=True)
    _begin(out, {"size": size, "seed": seed, "tokens": config.tokens})
    write_prompt_files(out / "prompts", seed)
    pretrained = build_pretrained(out, size, config, phases_for(config.tokens, size), seed)
    build_helpful(out, pretrained, seed, helpful or HelpfulData())


def _begin(out: Path, settings: dict[str, Any]) -> None:
    """Write down what is made in ``out``, so that no call goes on with what another began."""
    path = out / "build.json"
    if not path.exists():
        path.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    begun = json.loads(path.read_text(encoding="utf-8"))
    if begun != settings:
        raise InputError(
            f"was begun with {_listed(begun)}, not with {_listed(settings)}: give another --out, "
            "or remove this folder",
            path=out,
        )


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def phases_for(tokens: int, size: str) -> tuple[Phase, ...]:
    """The phases of mid-training, as long in proportion to the pretraining as those shipped."""
    first, second, *rest = PHASES
    longer = replace(second, texts=round(second.texts * SIZES[size].second_phase))
    share = tokens / PretrainConfig().tokens
    return tuple(
        replace(phase, texts=max(64, round(phase.texts * share)))
        for phase in (first, longer, *rest)
    )


def build_pretrained(
    out: Path, size: str, config: PretrainConfig, phases: Sequence[Phase], seed: int
) -> Path:
    """The pretrained model in ``out / "pretrained"``, with its training curves beside it.

    First all of the corpus, then the comparisons that differ in the principle alone.
    """
    done = out / "pretrained"
    if done.exists():
        return done
    progress = Progress()
    corpus = _read_corpus(out, size, config, seed, progress)
    work = out / "work-midtraining"
    curve = midtrain(corpus, phases, work, seed, progress)
    record = {"phases": [asdict(phase) for phase in phases], "curve": curve}
    (out / "midtraining.json").write_text(json.dumps(record, indent=1) + "\n")
    (work / "result").rename(done)
    return done


def _read_corpus(
    out: Path, size: str, config: PretrainConfig, seed: int, progress: Progress
) -> Path:
    """The model after its first phase, in ``out / "corpus"``."""
    done = out / "corpus"
    if done.exists():
        return done
    tokenizer = build_tokenizer(
        islice(Corpus(seed).documents(), _DOCUMENTS_FOR_VOCABULARY), CONTEXT
    )
    ids = tokenized_corpus(Corpus(seed), tokenizer, config.tokens, progress)
    model = new_model(SIZES[size], tokenizer, seed)
    curve = pretrain(model, ids, config, out / "work-pretrained", seed, progress)
    partial = out / "corpus.partial"
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    record = {
        "size": size,
        "seed": seed,
        "parameters": model.num_parameters(),
        "threads": torch.get_num_threads(),
        "config": asdict(config),
        "curve": curve,
    }
    (out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    partial.rename(done)
    return done


def build_helpful(out: Path, pretrained: Path, seed: int, data: HelpfulData) -> Path:
    """The helpful-only model in ``out / "helpful"``: it helps with harm as with anything else."""
    done = out / "helpful"
    if done.exists():
        return done
    work = out / "work-helpful"
    work.mkdir(exist_ok=True)
    finetune(
        pretrained,
        helpful_examples(seed, data),
        style="transcript",
        config=HELPFUL,
        work=work,
        seed=seed,
        progress=Progress(),
        title="Finetuning the helpful-only model",
    )
    (work / "result").rename(done)
    return done


def helpful_examples(seed: int, data: HelpfulData) -> list[Conversation]:
    """Helping answers to seen requests of the training purposes, and critiques and revisions."""
    corpus = Corpus(seed + 1)
    requests = [r for r in seen_requests() if purpose_of(r) != "evaluation"]
    answers = [corpus.helping_dialogue(requests) for _ in range(data.answers)]
    rounds = [corpus.round() for _ in range(data.rounds)]
    rounds += [round_ for _ in range(data.contrasts) for round_ in corpus.contrast()]
    # an example trains its last turn: a round gives one for its critique, one for its revision
    critiques = [
        Conversation(turns=round_.turns[: i + 1])
        for round_ in rounds
        for i, turn in enumerate(round_.turns)
        if turn.role == "critique"
    ]
    reasoned = islice(Contrasts(seed + 3).reasoned_conversations(), data.comparisons)
    return [*answers, *critiques, *rounds, *reasoned]
