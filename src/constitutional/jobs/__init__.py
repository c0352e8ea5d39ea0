"""A training as a job: a record that says all of it, to be run here or on several processes.

``python -m constitutional.jobs JOB.json`` is what each of the processes runs.
"""

from constitutional.jobs.records import (
    Finetuning,
    Job,
    PolicyTraining,
    PreferencePretraining,
    PreferenceTraining,
    read_job,
    write_job,
)

__all__ = [
    "Finetuning",
    "Job",
    "PolicyTraining",
    "PreferencePretraining",
    "PreferenceTraining",
    "read_job",
    "write_job",
]
