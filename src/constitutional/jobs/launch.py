"""Starting a job on several processes of this machine, by ``accelerate launch``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from constitutional.errors import TrainingError
from constitutional.jobs.records import Job, PolicyTraining, write_job

JOB, FAILURE = "job.json", "failure"

#: After so many seconds processes that were told to end are killed.
_GRACE = 10.0


@dataclass(frozen=True)
class Launcher:
    """How many processes, and the file of Accelerate's settings.

    ``whole`` is the file for a training that needs whole weights in each process.
    """

    count: int
    config: Path
    whole: Path


def launch(job: Job, launcher: Launcher) -> None:
    """Run the job on several processes, and wait for its end.

    They end with this one, however it ends; the job goes on from its last checkpoint when it is
    launched again. Raises TrainingError with the sentence of a process that failed.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    for stale in job.work.glob(f"{FAILURE}-*"):
        stale.unlink()
    write_job(job, job.work / JOB)
    # in a session of its own: Ctrl-C comes to this process alone, which passes it on
    agent = subprocess.Popen(
        _command(job, launcher), env=_environment(launcher.count), start_new_session=True
    )
    try:
        code = agent.wait()
    finally:
        _end(agent)
    if code:
        raise TrainingError(_what_failed(job.work, launcher.count, code))


def _command(job: Job, launcher: Launcher) -> list[str]:
    config = launcher.whole if isinstance(job, PolicyTraining) else launcher.config
    return [
        *(sys.executable, "-m", "constitutional.jobs.launcher"),
        *("--config_file", str(config)),
        *("--num_processes", str(launcher.count)),
        *("--num_machines", "1", "--machine_rank", "0"),
        *("--main_process_port", "0"),  # any that is free
        *("-m", "constitutional.jobs", str(job.work / JOB), str(job.work / FAILURE)),
    ]


def _environment(processes: int) -> dict[str, str]:
    """Ours, with the cores shared out where the user has not."""
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    return {"OMP_NUM_THREADS": str(threads), **os.environ}


def _end(agent: subprocess.Popen[bytes]) -> None:
    """The agent ends its processes when it is told to end; what does not end is killed."""
    if agent.poll() is not None:
        return
    agent.send_signal(signal.SIGTERM)
    try:
        agent.wait(_GRACE)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()


def _what_failed(work: Path, processes: int, code: int) -> str:
    told = sorted(work.glob(f"{FAILURE}-*"))
    if told:
        return told[0].read_text()
    end = f"by signal {-code}" if code < 0 else f"with code {code}"
    return (
        f"the training on {processes} processes ended {end} before it was done; what they "
        "said stands above, and the same command goes on from the last checkpoint"
    )
