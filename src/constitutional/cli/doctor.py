"""``cai doctor``: what this machine has, and what an extra would add."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What this machine has, what is not installed, and the command that installs it."""
    from constitutional.planning.machine import Machine, look

    found: Machine = look()
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    from constitutional.report.plan import machine_lines

    for line in machine_lines(found):
        print(line)
