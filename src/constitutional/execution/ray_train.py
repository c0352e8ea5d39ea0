"""A training in workers of Ray Train: the function that trains locally, and the same result.

The training leaves checkpoints and result in its work folder, which every machine has to reach. A
worker that is lost is replaced, and goes on from the last checkpoint there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from constitutional import processes
from constitutional.errors import ConstitutionalError, TrainingError, as_json, from_json
from constitutional.execution.driver import Driver
from constitutional.recipe import RayCluster
from constitutional.runs import QuietProgress

#: How often a worker that was lost is replaced.
_REPLACED = 3
_ERROR = "error.json"
#: What Ray Train tells a process of its group.
_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR")


def train(training: Callable[..., Any], settings: RayCluster, work: Path, number: int = 1) -> None:
    """Call ``training(progress=...)`` on the cluster; Ray Train's own files go below ``work``.

    Of several processes each calls it, in the group that Ray Train has set up.

    Raises what it raises, where that is an error of ours.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    os.environ.setdefault("RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING", "0")
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    place = work / "ray_train"
    failed = place / _ERROR
    failed.unlink(missing_ok=True)
    trainer = TorchTrainer(
        _in_worker,
        train_loop_config={"training": training, "driver": Driver.here(), "failed": failed},
        scaling_config=ScalingConfig(
            num_workers=number,
            use_gpu=settings.gpus > 0,
            resources_per_worker={"CPU": settings.cpus, "GPU": settings.gpus},
        ),
        run_config=RunConfig(
            name="training",
            storage_path=str(place),
            failure_config=FailureConfig(max_failures=_REPLACED),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        said = [line for line in str(error).splitlines() if line.strip()]
        raise TrainingError(
            f"the training's process on the cluster was lost {_REPLACED + 1} times "
            f"({said[-1].strip()}): its checkpoints are kept; give the same command to go on"
        ) from error
    if failed.exists():
        raise from_json(failed.read_text())


def _in_worker(config: dict[str, Any]) -> None:
    """What a worker of Ray Train does; an error of ours is no reason to try again."""
    if config["failed"].exists():
        return  # the others were waiting for the one that failed, and all were begun anew
    together = processes.count() > 1
    if not together:
        _alone()
    try:
        config["driver"].imitate()
        config["training"](progress=QuietProgress())
    except ConstitutionalError as error:
        whole = config["failed"].with_suffix(f".{processes.number()}")
        whole.write_text(as_json(error))
        whole.rename(config["failed"])
        if together:
            raise


def _alone() -> None:
    """Leave the group of one: in it, a model would be wrapped for processes that there are not."""
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in _GROUP:
        os.environ.pop(name, None)
