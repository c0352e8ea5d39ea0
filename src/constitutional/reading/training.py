"""What a training did so far: its history step by step, also while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from constitutional.errors import RunFolderError
from constitutional.runs.checkpoints import COMPLETE
from constitutional.runs.files import explain

REPORT = "training.json"
#: Where PPO writes a line after every step, in the work folder of its stage.
_LIVE = Path("work", "ppo", "history.jsonl")
_SNAPSHOTS = (Path("result", "snapshots"), Path("work", "ppo", "snapshots"))

Step = Mapping[str, Any]


class Training(NamedTuple):
    """The training of one arm.

    ``history`` has the entries that ``docs/metrics.md`` defines, one for each step. PPO's is there
    from its first step on, that of RLOO, GRPO and DPO when the training is over. ``planned`` is
    what the recipe asks for (None: DPO, whose steps follow from its epochs); ``ended`` says why the
    training is over, None while it runs. ``report`` is all of ``training.json``.
    """

    arm: str
    algorithm: str
    planned: int | None
    ended: str | None
    history: Sequence[Step]
    report: Mapping[str, Any]

    @property
    def steps(self) -> int:
        """The last step that was made."""
        return self.history[-1]["step"] if self.history else 0


def read_training(stage: Path, arm: str, rl: Mapping[str, Any]) -> Training | None:
    """The training in the folder of its stage; None where it has not begun.

    ``rl`` is that section of the recipe.
    """
    if not stage.is_dir():
        return None
    report = read_json(stage / "result" / REPORT) or {}
    algorithm = report.get("algorithm") or rl.get("algorithm", "ppo")
    return Training(
        arm=arm,
        algorithm=algorithm,
        planned=(rl.get(algorithm) or {}).get("steps"),
        ended=report.get("ended"),
        history=report["history"] if "history" in report else _lines(stage / _LIVE),
        report=report,
    )


def snapshot_folders(stage: Path) -> dict[int, Path]:
    """The models along a training, by step."""
    for place in _SNAPSHOTS:
        found = {
            int(path.name.removeprefix("step-")): path for path in (stage / place).glob("step-*")
        }
        if found:
            return dict(sorted(found.items()))
    return {}


def losses_so_far(work: Path) -> list[tuple[int, float]]:
    """Step and loss up to the last checkpoint of a training that runs; none before the first.

    transformers' Trainer keeps what it has logged beside the weights.
    """
    steps = {int(path.name.rpartition("-")[2]): path for path in work.glob("checkpoint-*")}
    for _, folder in sorted(steps.items(), reverse=True):
        # a checkpoint may be half written, or deleted while it is read
        state = read_json(folder / "trainer_state.json") if (folder / COMPLETE).exists() else None
        if state is not None:
            return [
                (entry["step"], entry["loss"]) for entry in state["log_history"] if "loss" in entry
            ]
    return []


def read_json(path: Path) -> Any | None:
    """What a file of JSON holds; None where there is no such file. Raises RunFolderError."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path) from error
    except ValueError as error:
        raise RunFolderError(f"{path} is damaged ({error}): restore it") from None


def _lines(path: Path) -> list[Step]:
    """The whole lines of a file that may be growing; none where it is not there yet."""
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise explain(error, path) from error
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise RunFolderError(f"{path} is damaged ({error}): restore it") from None
