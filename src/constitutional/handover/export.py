"""``cai export``: a run's data sets and a ready command, for one of three projects."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from constitutional.errors import InputError
from constitutional.handover import openrlhf, trl, verl
from constitutional.handover.run import read_hand_over

Target = Literal["openrlhf", "verl", "trl"]
_EXPORTS = {"openrlhf": openrlhf.export, "verl": verl.export, "trl": trl.export}


def export(
    target: Target, run: Path, out: Path, *, arm: str | None, base: Path | None, url: str
) -> list[str]:
    """Write what ``target`` reads into the empty or new folder ``out``.

    Returns sentences on what differs from a training here. Raises InputError or RunFolderError.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder: choose a new one with --out")
    hand = read_hand_over(run, arm=arm, base=base)
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _EXPORTS[target](hand, out, url)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from error
