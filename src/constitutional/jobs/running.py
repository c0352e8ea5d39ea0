"""Running a job in this process, which may be one of several. Imports torch."""

from __future__ import annotations

from constitutional.jobs.records import (
    Finetuning,
    Job,
    PolicyTraining,
    PreferencePretraining,
    PreferenceTraining,
)
from constitutional.runs import Progress


def run_job(job: Job, progress: Progress) -> None:
    """Train as the job says; the main process leaves ``job.work / "result"``."""
    match job:
        case Finetuning():
            from constitutional.supervised.finetune import finetune

            finetune(
                job.model,
                job.conversations,
                style=job.style,
                config=job.config,
                work=job.work,
                seed=job.seed,
                progress=progress,
                title=job.title,
                device=job.device,
            )
        case PreferencePretraining():
            from constitutional.preference.train import pretrain_preference_model

            pretrain_preference_model(
                job.model,
                job.comparisons,
                style=job.style,
                config=job.config,
                work=job.work,
                seed=job.seed,
                progress=progress,
                device=job.device,
            )
        case PreferenceTraining():
            from constitutional.preference.train import train_preference_model

            train_preference_model(
                job.model,
                job.comparisons,
                held_out=job.held_out,
                style=job.style,
                config=job.config,
                work=job.work,
                seed=job.seed,
                progress=progress,
                device=job.device,
            )
        case PolicyTraining():
            from constitutional.jobs.policy import train_with_ppo

            train_with_ppo(job, progress)
