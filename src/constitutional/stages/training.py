"""The trainings of a run: where the run's work is done, or on several processes of this machine."""

from __future__ import annotations

from functools import partial

from constitutional.jobs import Job
from constitutional.stages.context import Context


def train(context: Context, job: Job) -> None:
    """Train as ``job`` says, where the recipe says; leaves ``job.work / "result"``."""
    context.engines.release()
    launcher, training = context.inputs.launcher, context.recipe.training
    if launcher is None:
        from constitutional.jobs.running import run_job

        number = 1 if training is None else training.processes
        context.execution.train(partial(run_job, job), job.work, context.progress, number)
    else:
        from constitutional.jobs.launch import launch

        launch(job, launcher)
