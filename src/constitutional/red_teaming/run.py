"""The making of prompts in a run folder: what is made survives a kill, and the results as files.

RUN/stages/prompts/records.jsonl    every wanted prompt with all attempts at it
RUN/prompts.jsonl                   the prompts, in a form that a recipe reads
RUN/report.json                     what became of all attempts
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from constitutional.errors import InputError
from constitutional.red_teaming.generate import PromptWriter
from constitutional.red_teaming.records import Account, Place
from constitutional.runs import (
    Progress,
    Records,
    RunFolder,
    atomic_write,
    fingerprint_of,
    one_by_one,
    read_records,
)
from constitutional.runs.folder import STAGES
from constitutional.runs.stage import STAGE

STAGE_NAME = "prompts"
PROMPTS = "prompts.jsonl"
REPORT = "report.json"


def fill_places(
    run: RunFolder,
    writer: PromptWriter,
    count: int,
    *,
    inputs: Mapping[str, str],
    block: int,
    progress: Progress,
) -> Records[Place]:
    """Make ``count`` prompts, or go on with that; ``inputs`` are hashes of all that they are of.

    What an earlier session made is read first: no later prompt may repeat it.
    """
    folder = run.path / STAGES / STAGE_NAME
    if (folder / STAGE).exists():
        writer.remember(read_records(folder, Place))
    return run.stage_records(
        STAGE_NAME,
        inputs={
            **inputs,
            "engine": writer.engine.fingerprint,
            "kind": writer.kind,
            "settings": fingerprint_of([writer.config]),
            "seed": str(writer.seed),
        },
        record_type=Place,
        items=range(count),
        block_size=block,
        make=one_by_one(writer.places),
        progress=progress,
        title="Prompts",
        in_order=True,
    )


def write_results(
    run: RunFolder, writer: PromptWriter, places: Iterable[Place], of: Account
) -> None:
    """Write both files. Raises InputError, after that, when no prompt was made."""
    atomic_write(run.path / PROMPTS, "".join(map(_line, places)).encode())
    run.write_json(REPORT, report(writer, of))
    if not of.accepted:
        most = max(of.rejected, key=lambda cause: of.rejected[cause])
        raise InputError(
            f"{run.path}: all {of.attempts} attempts were rejected, {of.rejected[most]} of them as "
            f"{most!r}: look at stages/{STAGE_NAME}/records.jsonl, and choose another model, "
            "heading or style, or more new tokens"
        )


def report(writer: PromptWriter, of: Account) -> dict[str, Any]:
    """What ``report.json`` holds: counts, and shares of the attempts with intervals."""
    return {
        **of.model_dump(),
        "shares": {name: share.model_dump() for name, share in of.shares.items()},
        "few_shot_pool": len(writer.pool),
        "engine": writer.engine.name,
        "style": writer.engine.style,
        "seed": writer.seed,
        "settings": writer.config.model_dump(),
    }


def _line(place: Place) -> str:
    """A prompt with what it came from, which readers of prompts pass over; nothing if none."""
    if place.prompt is None:
        return ""
    attempt = place.attempts[-1]
    origin = {"few_shots": attempt.few_shots, "seed": attempt.sample.seed}
    # ASCII escapes, so that no text a model wrote can break the file
    return json.dumps({**place.prompt.model_dump(mode="json"), **origin}) + "\n"
