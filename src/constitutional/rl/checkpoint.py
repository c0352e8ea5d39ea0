"""PPO's checkpoints: everything that decides what comes next, in safetensors and JSON.

A checkpoint is written under another name, marked, and renamed when it is whole, so that a kill
leaves none by halves, and damage shows (:mod:`constitutional.runs.checkpoints`). Draws depend on
the seed and the step alone, so the step is the whole random state.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from constitutional import processes
from constitutional.runs.checkpoints import drop_damaged, mark_complete, newest, remove_old
from constitutional.runs.files import fsync_folder
from constitutional.runs.progress import Progress


def save(work: Path, step: int, parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write checkpoint ``step``: ``parts`` are modules and optimisers, ``state`` is plain data."""
    partial = work / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, part in parts.items():
        save_file(_tensors(part), partial / f"{name}.safetensors")
    (partial / "state.json").write_text(json.dumps({**state, "step": step}))
    mark_complete(partial)
    partial.rename(work / f"step-{step}")
    fsync_folder(work)
    remove_old(_checkpoints(work))


def restore(
    work: Path, parts: Mapping[str, Any], snapshots: Path, progress: Progress
) -> dict[str, Any] | None:
    """Load the newest whole checkpoint into ``parts``; returns its state, None when there is none.

    Damaged ones are removed, and the user is told.
    """
    if processes.is_main():
        drop_damaged(_checkpoints(work), snapshots, progress.note)
    processes.wait()
    found = newest(_checkpoints(work))
    if found is None:
        return None
    _, folder = found
    for name, part in parts.items():
        _load(part, load_file(folder / f"{name}.safetensors"))
    state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    return state


def _checkpoints(work: Path) -> dict[int, Path]:
    return {int(path.name.removeprefix("step-")): path for path in work.glob("step-*")}


def newest_of(work: Path) -> Path | None:
    """The newest checkpoint that has its mark, None when there is none."""
    found = newest(_checkpoints(work))
    return None if found is None else found[1]


def _tensors(part: Any) -> dict[str, Tensor]:
    if not isinstance(part, torch.optim.Optimizer):
        return {name: t.detach().clone().contiguous() for name, t in _trained(part).items()}
    return {
        f"{index}.{name}": torch.as_tensor(value).detach().clone().contiguous()
        for index, entries in part.state_dict()["state"].items()
        for name, value in entries.items()
    }


def _load(part: Any, tensors: dict[str, Tensor]) -> None:
    if not isinstance(part, torch.optim.Optimizer):
        trained = _trained(part)
        if set(trained) != set(tensors):
            raise ValueError("a checkpoint of other weights than those that are trained")
        with torch.no_grad():
            for name, tensor in tensors.items():
                trained[name].copy_(tensor)
        return
    entries: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        entries.setdefault(int(index), {})[name] = tensor
    part.load_state_dict({**part.state_dict(), "state": entries})


def _trained(module: torch.nn.Module) -> dict[str, Tensor]:
    """What a training changes; tied weights are there once, frozen ones not at all."""
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
