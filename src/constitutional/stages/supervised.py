"""The supervised stage in a run: chains, helpful replies, SL-CAI."""

from __future__ import annotations

from pathlib import Path

from constitutional.errors import InputError
from constitutional.evaluation.behaviour import flag_counts
from constitutional.runs import Records, fingerprint_of
from constitutional.runs.records import Chain, Reply
from constitutional.stages.context import Context
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.training_data import export_messages, training_examples


def critique_and_revise(context: Context) -> Records[Chain]:
    """The helpful model responds to red-team prompts, criticises itself and revises."""
    recipe, inputs = context.recipe, context.inputs
    return context.run.stage_records(
        "critique_revision",
        inputs=context.made_from(
            recipe.supervised,
            context.engine(inputs.helpful_model.path),
            constitution=inputs.constitution.fingerprint,
        ),
        record_type=Chain,
        items=inputs.red_team,
        block_size=recipe.block,
        work=_stage(context).chains,
        progress=context.progress,
        title="Critique and revision",
    )


def reply_to_helpful_prompts(context: Context) -> Records[Reply]:
    """The helpful model responds to helpful prompts, to keep the policy helpful."""
    recipe, inputs = context.recipe, context.inputs
    return context.run.stage_records(
        "helpful_replies",
        inputs=context.made_from(recipe.supervised, context.engine(inputs.helpful_model.path)),
        record_type=Reply,
        items=inputs.helpful,
        block_size=recipe.block,
        work=_stage(context).replies,
        progress=context.progress,
        title="Helpful responses",
    )


def finetune_on_revisions(
    context: Context, chains: Records[Chain], replies: Records[Reply]
) -> Path:
    """The pretrained model is finetuned on the revisions of all rounds: SL-CAI."""
    recipe, inputs, run = context.recipe, context.inputs, context.run

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
            progress=context.progress,
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


def _stage(context: Context) -> CritiqueRevision:
    recipe, inputs = context.recipe, context.inputs
    helpful = context.engine(inputs.helpful_model.path)
    return CritiqueRevision(helpful, inputs.constitution, recipe.supervised, recipe.seed)


def _faults(chains: Records[Chain]) -> str:
    counts = flag_counts(list(chains))
    faults = {k: n for k, n in counts.items() if k not in ("revisions", "unchanged", "left_out")}
    return ", ".join(f"{n} {flag}" for flag, n in faults.items()) or "no chain has a round"
