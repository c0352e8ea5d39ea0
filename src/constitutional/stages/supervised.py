"""The supervised stage in a run: chains, helpful replies, SL-CAI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from constitutional.dialogue import Conversation
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
            context.engine(context.helpful_model.path),
            constitution=context.constitution.fingerprint,
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
        inputs=context.made_from(recipe.supervised, context.engine(context.helpful_model.path)),
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
    """The pretrained model is finetuned on the revisions: SL-CAI."""

    def make(work: Path) -> None:
        examples = list(
            training_examples(chains, replies, revisions=context.recipe.finetune.revisions)
        )
        if not examples:
            raise InputError(
                f"every text was left out of training for its form ({_faults(chains)}); "
                "if most are cut off, raise supervised.max_new_tokens"
            )
        _finetune(context, [e.conversation for e in examples], work, "Finetuning SL-CAI")
        export_messages(examples, work / "result" / "training_data.jsonl")

    made_from = {
        **_training(context),
        "chains": context.run.fingerprint("critique_revision"),
        "replies": context.run.fingerprint("helpful_replies"),
        "constitution": context.constitution.fingerprint,
    }
    return context.run.stage_artifact("sl_cai", inputs=made_from, make=make)


def finetune_on_demonstrations(context: Context) -> Path:
    """In place of critique and revision: the pretrained model is finetuned on demonstrations."""

    def make(work: Path) -> None:
        _finetune(context, context.inputs.demonstrations, work, "Finetuning on demonstrations")

    made_from = {
        **_training(context),
        "demonstrations": fingerprint_of(context.inputs.demonstrations),
    }
    return context.run.stage_artifact("sft", inputs=made_from, make=make)


def _training(context: Context) -> dict[str, str]:
    return {
        "settings": fingerprint_of([context.recipe.finetune]),
        "pretrained": context.inputs.pretrained_model.fingerprint,
        "seed": str(context.recipe.seed),
    }


def _finetune(
    context: Context, conversations: Sequence[Conversation], work: Path, title: str
) -> None:
    from constitutional.supervised.finetune import finetune

    pretrained = context.inputs.pretrained_model
    finetune(
        pretrained.path,
        conversations,
        style=pretrained.style,
        config=context.recipe.finetune,
        work=work,
        seed=context.recipe.seed,
        progress=context.progress,
        title=title,
        device=context.recipe.models.device,
    )


def _stage(context: Context) -> CritiqueRevision:
    recipe = context.recipe
    helpful = context.engine(context.helpful_model.path)
    return CritiqueRevision(helpful, context.constitution, recipe.supervised, recipe.seed)


def _faults(chains: Records[Chain]) -> str:
    counts = flag_counts(list(chains))
    faults = {k: n for k, n in counts.items() if k not in ("revisions", "unchanged", "left_out")}
    return ", ".join(f"{n} {flag}" for flag, n in faults.items()) or "no chain has a round"
