"""What all trainings by TRL have in common here: no telemetry, one process, the same result folder.

TRL is an extra; this is the only module that imports it, and the others take it from here.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from constitutional.engines.loading import chosen_device, without_bars
from constitutional.errors import InputError, MissingExtraError
from constitutional.training import SNAPSHOTS, small_seed

try:
    import datasets as datasets
    import trl as trl
    from trl.trainer.dpo_trainer import DataCollatorForPreference as DataCollatorForPreference
except ImportError as error:
    missing = (error.name or "trl").partition(".")[0]
    raise MissingExtraError(missing, "trl", "rl.algorithm dpo, rloo or grpo") from error

REPORT = "training.json"


class Offline:
    """Mixed into TRL's trainers: nothing is sent anywhere, and no model card is written."""

    def _send_telemetry(self) -> None:
        pass

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: what a run is stands in its manifest."""


def common_arguments(work: Path, seed: int, device: str) -> dict[str, Any]:
    """What all of TRL's trainers are told. Raises InputError where there are several GPUs."""
    on_gpu = chosen_device(device).type == "cuda"
    if on_gpu and torch.cuda.device_count() > 1:
        raise InputError(
            f"TRL trains on one GPU and finds {torch.cuda.device_count()}: make one visible, as "
            "CUDA_VISIBLE_DEVICES=0 does"
        )
    return {
        "output_dir": str(work),
        "lr_scheduler_type": "constant_with_warmup",
        "logging_nan_inf_filter": False,
        "seed": small_seed(seed),
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "gradient_checkpointing": False,
        "disable_dropout": True,
        "remove_unused_columns": False,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Without bars, and without the warnings of transformers about names that TRL still uses."""
    with without_bars(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def save_result(work: Path, policy: Any, tokenizer: Any, report: Mapping[str, Any]) -> None:
    """The policy as a plain Hugging Face folder, its snapshots, and at last the report."""
    result = work / "result"
    save_policy(policy, tokenizer, result)
    if (work / SNAPSHOTS).exists():
        shutil.copytree(work / SNAPSHOTS, result / SNAPSHOTS, dirs_exist_ok=True)
    (result / REPORT).write_text(json.dumps(report, indent=1) + "\n")


def save_policy(policy: Any, tokenizer: Any, folder: Path) -> None:
    """The policy and its tokenizer."""
    with without_bars():
        policy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
