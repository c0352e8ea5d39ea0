"""This process among those that train one model together.

``accelerate launch``, torchrun and Ray Train say in the environment how many there are and which
one this is; without that it is the only one. Settings give sizes of the whole, of which each
process takes its share, so that the number of processes changes no step.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, TypeVar

from accelerate import PartialState
from accelerate.utils import gather_object

from constitutional.errors import InputError
from constitutional.training_settings import not_divided

T = TypeVar("T")


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def number() -> int:
    """Which one this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this is the one that writes results and shows progress."""
    return number() == 0


def leave() -> NoReturn:
    """End this process, which has done its part, at once and with success.

    The groups are left and what waits for the end is called, but the interpreter is not taken
    apart: gloo's threads may outlive it even so and then abort (PyTorch's issue 190489), and what
    was trained would count as failed.
    """
    PartialState().destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def sharding() -> str | None:
    """What Accelerate was asked to shard weights with, ``FSDP`` or ``DEEPSPEED``; None: nothing."""
    for name in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            return name
    return None


def divided(size: int, name: str) -> int:
    """The share of each process in ``size``. Raises InputError where it does not divide."""
    each, left = divmod(size, count())
    if left:
        raise InputError(not_divided(name, size, count()))
    return each


def share(items: Sequence[T]) -> Sequence[T]:
    """This process's part of ``items``, whose number divides; the parts are in order."""
    each = divided(len(items), "items")
    return items[number() * each : (number() + 1) * each]


def gathered(items: list[T]) -> list[T]:
    """The items of all processes, in the order of the processes, in each of them."""
    if count() == 1:
        return items
    everyone: list[T] = gather_object(items)
    return everyone


def wait() -> None:
    """Until every process is here."""
    if count() > 1:
        PartialState().wait_for_everyone()
