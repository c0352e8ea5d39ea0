"""The supervised stage in a run: chains, helpful replies, SL-CAI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from constitutional.constitution import Constitution
from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines.pool import Engines
from constitutional.errors import InputError
from constitutional.evaluation.behaviour import flag_counts
from constitutional.jobs import Finetuning
from constitutional.runs import Records, fingerprint_of
from constitutional.runs.records import Chain, Reply
from constitutional.spool import Spooled
from constitutional.stages.context import Context
from constitutional.stages.training import train
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.settings import CritiqueRevisionConfig
from constitutional.supervised.training_data import export_messages, training_examples


@dataclass(frozen=True)
class Chains:
    """The helpful model responds to red-team prompts, criticises itself and revises.

    ``helpful`` and ``critic`` are names of engines; without a critic the helpful model is its own.
    """

    helpful: str
    critic: str | None
    constitution: Constitution
    config: CritiqueRevisionConfig
    seed: int

    def __call__(self, block: Sequence[PromptRecord], engines: Engines) -> list[Chain]:
        """One chain for each prompt."""
        return self.writer(engines).chains(block)

    def writer(self, engines: Engines) -> CritiqueRevision:
        """Who writes, with the engines."""
        critic = None if self.critic is None else engines[self.critic]
        return CritiqueRevision(
            engines[self.helpful], self.constitution, self.config, self.seed, critic
        )


@dataclass(frozen=True)
class Replies:
    """The same model responds to helpful prompts."""

    chains: Chains

    def __call__(self, block: Sequence[PromptRecord], engines: Engines) -> list[Reply]:
        """All responses to each prompt."""
        return self.chains.writer(engines).replies(block)


def critique_and_revise(context: Context) -> Records[Chain]:
    """The helpful model responds to red-team prompts, criticises itself and revises."""
    work = _chains(context)
    return context.records(
        "critique_revision",
        made_from=context.made_from(
            work.config,
            *(name for name in (work.helpful, work.critic) if name is not None),
            constitution=work.constitution.fingerprint,
        ),
        record_type=Chain,
        items=context.inputs.red_team,
        work=work,
        title="Critique and revision",
    )


def reply_to_helpful_prompts(context: Context) -> Records[Reply]:
    """The helpful model responds to helpful prompts, to keep the policy helpful."""
    work = _chains(context)
    return context.records(
        "helpful_replies",
        made_from=context.made_from(work.config, work.helpful),
        record_type=Reply,
        items=context.inputs.helpful,
        work=Replies(work),
        title="Helpful responses",
    )


def finetune_on_revisions(
    context: Context, chains: Records[Chain], replies: Records[Reply]
) -> Path:
    """The pretrained model is finetuned on the revisions: SL-CAI."""

    def make(work: Path) -> None:
        config = context.recipe.finetune
        examples = partial(
            training_examples,
            chains,
            replies,
            revisions=config.revisions,
            flagged=config.flagged,
        )
        conversations = Spooled(example.conversation for example in examples())
        if not len(conversations):
            raise InputError(
                f"every text was left out of training for its form ({_faults(chains)}); "
                "if most are cut off, raise supervised.max_new_tokens"
            )
        _finetune(context, conversations, work, "Finetuning SL-CAI")
        export_messages(examples(), work / "result" / "training_data.jsonl")

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
    pretrained = context.inputs.pretrained_model
    job = Finetuning(
        title=title,
        model=pretrained.path,
        conversations=conversations,
        style=pretrained.style,
        config=context.recipe.finetune,
        work=work,
        seed=context.recipe.seed,
        device=context.recipe.models.device,
    )
    train(context, job)


def _chains(context: Context) -> Chains:
    critic = context.inputs.critic_model
    return Chains(
        context.helpful_model.path,
        None if critic is None else critic.path,
        context.constitution,
        context.recipe.supervised,
        context.recipe.seed,
    )


def _faults(chains: Records[Chain]) -> str:
    counts = flag_counts(chains)
    faults = {k: n for k, n in counts.items() if k not in ("revisions", "unchanged", "left_out")}
    return ", ".join(f"{n} {flag}" for flag, n in faults.items()) or "no chain has a round"
