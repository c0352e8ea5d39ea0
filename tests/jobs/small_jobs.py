"""A small job of each kind; run as a script, it is what each of several processes runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from constitutional import processes
from constitutional.dialogue import Conversation, PromptRecord
from constitutional.jobs import (
    Finetuning,
    Job,
    PolicyTraining,
    PreferencePretraining,
    PreferenceTraining,
    read_job,
)
from constitutional.preference.settings import PreferenceConfig, PretrainingConfig
from constitutional.rl.settings import PPOConfig
from constitutional.runs.records import Comparison
from constitutional.supervised.settings import FinetuneConfig

#: 22 examples are 3 steps of 8, of which the last is not full, and its last share is empty. Each
#: step is logged, since logs do not span checkpoints.
SETTINGS = {"batch_size": 4, "accumulate": 2, "checkpoint_steps": 1, "learning_rate": 1e-2}


def finetuning(model: Path, work: Path, **changes: Any) -> Finetuning:
    return Finetuning(
        **common(model, work),
        title="Finetuning",
        conversations=tuple(
            Conversation.of(f"Say {n} words", " ".join(["well"] * (1 + n % 7) + [str(n)]))
            for n in range(22)
        ),
        config=FinetuneConfig(**SETTINGS | changes),
    )


def pretraining(model: Path, work: Path) -> PreferencePretraining:
    config = PretrainingConfig(**SETTINGS)
    comparisons = tuple(map(comparison, range(11)))  # of each come two pairs
    return PreferencePretraining(**common(model, work), comparisons=comparisons, config=config)


def preference(model: Path, work: Path) -> PreferenceTraining:
    return PreferenceTraining(
        **common(model, work),
        comparisons=tuple(map(comparison, range(22))),
        held_out=tuple(map(comparison, range(50, 56))),
        config=PreferenceConfig(**SETTINGS, goal_weights={"harmlessness": 2.0}),
    )


def policy(model: Path, work: Path, preference_model: Path, **changes: Any) -> PolicyTraining:
    settings = {"steps": 4, "batch_size": 8, "minibatch_size": 4, "epochs": 2, "max_new_tokens": 8}
    rates = {"learning_rate": 3e-3, "critic_learning_rate": 3e-3, "checkpoint_steps": 2}
    return PolicyTraining(
        **common(model, work),
        pretrained=str(model),
        preference_model=preference_model,
        held_out_model=preference_model,
        red_team=tuple(map(prompt, range(6))),
        helpful=tuple(map(prompt, range(6, 12))),
        batch_size=8,
        config=PPOConfig(**settings | rates | changes),
    )


def common(model: Path, work: Path) -> dict[str, Any]:
    return {"model": str(model), "work": work, "style": "transcript", "seed": 3, "device": "cpu"}


def comparison(n: int) -> Comparison:
    return Comparison(
        id=str(n),
        prompt=Conversation.of(f"Say {n} words"),
        a=" ".join(["well"] * (1 + n % 7)),
        b=" ".join(["no"] * (1 + n % 5)),
        goal="harmlessness" if n % 3 else "helpfulness",
        labeller="rule",
        prob_a=(n % 11) / 10,
    )


def prompt(n: int) -> PromptRecord:
    conversation = Conversation.of("Say " + "so many " * (n % 4) + "words")
    kind = "red_team" if n < 6 else "helpful"
    return PromptRecord(id=f"p{n}", conversation=conversation, kind=kind, source="test")


def small_jobs(model: Path, preference_model: Path, work: Path) -> dict[str, Job]:
    return {
        "finetuning": finetuning(model, work / "finetuning"),
        "pretraining": pretraining(model, work / "pretraining"),
        "preference": preference(model, work / "preference"),
        "policy": policy(model, work / "policy", preference_model),
    }


if __name__ == "__main__":
    from constitutional.jobs.running import run_job
    from constitutional.runs import QuietProgress

    for path in sys.argv[1:]:
        run_job(read_job(Path(path)), QuietProgress())
    processes.leave()
