"""Constitutional AI in the order of Bai et al. 2022 (arXiv 2212.08073, figure 1).

A stage reads records and leaves records; what is done is not done again, and a stage that was cut
off goes on at the block where it stopped (:mod:`constitutional.runs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from constitutional.dialogue import PromptRecord
from constitutional.engines import Engine, load_engine
from constitutional.errors import InputError
from constitutional.evaluation.answers import answer_prompts
from constitutional.evaluation.behaviour import (
    as_json,
    flag_counts,
    policy_metrics,
    revision_metrics,
)
from constitutional.evaluation.verdicts import Judge
from constitutional.inputs import Inputs
from constitutional.recipe import Recipe
from constitutional.runs import Progress, Records, RunFolder, fingerprint_of
from constitutional.runs.records import Answer, Chain, Reply
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.training_data import export_messages, training_examples

METRICS = "metrics.json"


def constitutional_ai(
    recipe: Recipe, inputs: Inputs, run: RunFolder, progress: Progress
) -> dict[str, Any]:
    """Run every stage of the recipe; returns what ``metrics.json`` holds."""
    helpful = _engine(recipe, inputs.helpful_model.path)
    chains = critique_and_revise(recipe, inputs, helpful, run, progress)
    replies = reply_to_helpful_prompts(recipe, inputs, helpful, run, progress)
    sl_cai = finetune_on_revisions(recipe, inputs, chains, replies, run, progress)

    answers: dict[str, Records[Answer]] = {}
    if recipe.evaluation is not None:
        policies = {
            "pretrained": inputs.pretrained_model.path,
            "helpful": inputs.helpful_model.path,
            "sl_cai": str(sl_cai),
        }
        for name, model in policies.items():
            engine = helpful if name == "helpful" else _engine(recipe, model)
            answers[name] = evaluate_policy(recipe, inputs, name, engine, run, progress)
    metrics = summarise(inputs, chains, answers, run)
    run.write_json(METRICS, metrics)
    return metrics


def critique_and_revise(
    recipe: Recipe, inputs: Inputs, helpful: Engine, run: RunFolder, progress: Progress
) -> Records[Chain]:
    """Stage 1: the helpful model responds to red-team prompts, criticises itself and revises."""
    stage = CritiqueRevision(helpful, inputs.constitution, recipe.supervised, recipe.seed)
    return run.stage_records(
        "critique_revision",
        inputs=_made_from(recipe, helpful, recipe.supervised, inputs.constitution.fingerprint),
        record_type=Chain,
        items=inputs.red_team,
        block_size=recipe.block,
        work=stage.chains,
        progress=progress,
        title="Critique and revision",
    )


def reply_to_helpful_prompts(
    recipe: Recipe, inputs: Inputs, helpful: Engine, run: RunFolder, progress: Progress
) -> Records[Reply]:
    """Stage 2: the helpful model responds to helpful prompts, to keep the policy helpful."""
    stage = CritiqueRevision(helpful, inputs.constitution, recipe.supervised, recipe.seed)
    return run.stage_records(
        "helpful_replies",
        inputs=_made_from(recipe, helpful, recipe.supervised),
        record_type=Reply,
        items=inputs.helpful,
        block_size=recipe.block,
        work=stage.replies,
        progress=progress,
        title="Helpful responses",
    )


def finetune_on_revisions(
    recipe: Recipe,
    inputs: Inputs,
    chains: Records[Chain],
    replies: Records[Reply],
    run: RunFolder,
    progress: Progress,
) -> Path:
    """Stage 3: the pretrained model is finetuned on the revisions of all rounds: SL-CAI."""

    def make(work: Path) -> None:
        from constitutional.supervised.finetune import finetune

        examples = list(training_examples(chains, replies))
        if not examples:
            raise InputError(
                f"every text was left out of training for its form ({_faults(chains)}); "
                "if most are cut off, raise supervised.max_new_tokens"
            )
        finetune(
            inputs.pretrained_model.path,
            [example.conversation for example in examples],
            style=inputs.pretrained_model.style,
            config=recipe.finetune,
            work=work,
            seed=recipe.seed,
            progress=progress,
            title="Finetuning SL-CAI",
            device=recipe.models.device,
        )
        export_messages(examples, work / "result" / "training_data.jsonl")

    made_from = {
        "settings": fingerprint_of([recipe.finetune]),
        "pretrained": inputs.pretrained_model.fingerprint,
        "chains": run.fingerprint("critique_revision"),
        "replies": run.fingerprint("helpful_replies"),
        "constitution": inputs.constitution.fingerprint,
        "seed": str(recipe.seed),
    }
    return run.stage_artifact("sl_cai", inputs=made_from, make=make)


def _faults(chains: Records[Chain]) -> str:
    counts = flag_counts(list(chains))
    faults = {k: n for k, n in counts.items() if k not in ("revisions", "unchanged", "left_out")}
    return ", ".join(f"{n} {flag}" for flag, n in faults.items()) or "no chain has a round"


def evaluate_policy(
    recipe: Recipe,
    inputs: Inputs,
    name: str,
    engine: Engine,
    run: RunFolder,
    progress: Progress,
) -> Records[Answer]:
    """Stage 4, for each policy: it answers the evaluation prompts, and the judge reads them."""
    evaluation = recipe.evaluation
    assert evaluation is not None  # the caller asks only then
    params = evaluation.sampling
    work: Callable[[Sequence[PromptRecord]], list[Answer]] = partial(
        answer_prompts, name, engine, params, inputs.judge, recipe.seed
    )
    return run.stage_records(
        f"answers_{name}",
        inputs=_made_from(recipe, engine, evaluation),
        record_type=Answer,
        items=inputs.evaluation,
        block_size=recipe.block,
        work=work,
        progress=progress,
        title=f"Evaluating {name}",
    )


def summarise(
    inputs: Inputs,
    chains: Records[Chain],
    answers: dict[str, Records[Answer]],
    run: RunFolder,
) -> dict[str, Any]:
    """Everything measured, in the form of ``docs/metrics.md``."""
    judge: Judge | None = inputs.judge
    all_chains = list(chains)
    seconds = run.seconds()
    metrics: dict[str, Any] = {
        "policies": {name: policy_metrics(list(records)) for name, records in answers.items()},
        "revisions": flag_counts(all_chains),
        "constitution": inputs.constitution.fingerprint,
        "seconds": {**seconds, "total": sum(seconds.values())},
    }
    if judge is not None:
        metrics["revision_rounds"] = revision_metrics(all_chains, judge)
    plain: dict[str, Any] = as_json(metrics)
    return plain


def _engine(recipe: Recipe, model: str) -> Engine:
    models = recipe.models
    return load_engine(
        model,
        style=models.style,
        device=models.device,
        dtype=models.dtype,
        batch_size=models.batch_size,
    )


def _made_from(
    recipe: Recipe, engine: Engine, settings: Any, constitution: str | None = None
) -> dict[str, str]:
    """The fingerprints of all that a stage of records depends on, besides its items."""
    made_from = {
        "engine": engine.fingerprint,
        "batch_size": str(recipe.models.batch_size),
        "settings": fingerprint_of([settings]),
        "seed": str(recipe.seed),
    }
    return made_from if constitution is None else {**made_from, "constitution": constitution}
