"""Accelerate's settings for several processes: those that ship, and files of the user's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import yaml

from constitutional.errors import InputError, nearest
from constitutional.jobs.launch import Launcher

#: What ships; see ``docs/training.md``.
SHIPPED = ("ddp", "fsdp2", "zero3")
_SUPPORTED = ("MULTI_GPU", "FSDP", "DEEPSPEED")


def shipped(name: str) -> Path:
    """The file of a configuration that ships."""
    return Path(__file__).parent / "accelerate" / f"{name}.yaml"


def find_launcher(processes: int, config: str) -> Launcher:
    """The launcher of so many processes; ``config`` ships under that name, or is a file.

    Raises InputError for a file that ``accelerate launch`` could not use.
    """
    path = shipped(config) if config in SHIPPED else Path(config)
    kind = _distribution(path)
    if kind == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise InputError(
            "'training.config' asks for DeepSpeed, which is not installed: pip install deepspeed",
            path=path,
        )
    return Launcher(processes, path, path if kind == "MULTI_GPU" else shipped("ddp"))


def _distribution(path: Path) -> str:
    """The ``distributed_type`` of the file, once Accelerate has read it."""
    if not path.is_file():
        raise InputError(
            f"'training.config' is no file and none of {', '.join(SHIPPED)}; "
            + nearest(path.name, SHIPPED),
            path=path,
        )
    from accelerate.commands.config.config_args import load_config_from_file

    try:
        kind = str(load_config_from_file(str(path)).distributed_type.value)
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"Accelerate cannot read this: {first_line}", path=path) from error
    if kind not in _SUPPORTED:
        raise InputError(
            f"'distributed_type' must be one of {', '.join(_SUPPORTED)}, found {kind}", path=path
        )
    return kind
