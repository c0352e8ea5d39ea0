"""What ``cai red-team`` does with its options."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from constitutional.dialogue import (
    PromptKind,
    PromptRecord,
    check_vocabulary,
    load_prompts,
    render,
)
from constitutional.engines import Engine, load_engine
from constitutional.errors import InputError
from constitutional.recipe import resource
from constitutional.red_teaming import Account, PromptWriter, RedTeamingConfig, account
from constitutional.red_teaming.few_shots import few_shot_pool
from constitutional.red_teaming.run import PROMPTS, fill_places, write_results
from constitutional.runs import Progress, RunFolder, fingerprint_of, interruptible


class Order(BaseModel):
    """All that decides the result: the recipe of the run's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "red-team"
    kind: PromptKind
    count: int
    seed: int
    model: str
    style: Literal["auto", "transcript", "chat"]
    device: str
    batch_size: int
    prompts: str
    avoid: tuple[str, ...]
    block: int
    settings: RedTeamingConfig


def make(order: Order, out: Path) -> None:
    """Read and check everything, make the prompts, and show what became of all attempts."""
    command = "cai " + shlex.join(sys.argv[1:])
    human, avoid = _read([order.prompts], order.kind), _read(order.avoid, order.kind)
    few_shot_pool(human, order.settings)  # refused before torch, which takes seconds to import
    print(f"{order.name}: reading the model, results go to {out}", file=sys.stderr)
    with interruptible(out, command):
        engine = _load(order, (*human, *avoid))
        inputs = {"prompts": fingerprint_of(human), "avoid": fingerprint_of(avoid)}
        with RunFolder.open(
            out,
            order.model_dump(mode="json"),
            command=command,
            inputs={**inputs, "model": engine.fingerprint},
        ) as run:
            writer = PromptWriter(engine, human, order.kind, order.settings, order.seed, avoid)
            places = fill_places(
                run,
                writer,
                order.count,
                inputs={**inputs, "batch_size": str(order.batch_size)},
                block=order.block,
                progress=Progress(),
            )
            found = account(order.kind, places)
            write_results(run, writer, places, found)
    _show(found, out / PROMPTS)


def settings(**options: Any) -> RedTeamingConfig:
    """The settings; a wrong one is refused by the name of its option."""
    try:
        return RedTeamingConfig(**options)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise InputError(f"--{option}: {first['msg']}") from None


def _read(names: Iterable[str], kind: PromptKind) -> tuple[PromptRecord, ...]:
    return tuple(
        record for name in names for record in load_prompts(resource(name, Path()), kind=kind)
    )


def _load(order: Order, prompts: Iterable[PromptRecord]) -> Engine:
    """The engine; a word that its model does not know is refused."""
    from constitutional.engines.loading import load_tokenizer

    model = resource(order.model, Path())
    texts = {f"{p.source}, prompt {p.id}": render(p.conversation) for p in prompts}
    texts["--heading"] = order.settings.heading or ""
    check_vocabulary(load_tokenizer(model), texts)
    return load_engine(model, style=order.style, device=order.device, batch_size=order.batch_size)


def _show(found: Account, file: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from constitutional.cli.tables import cell

    table = Table(title=cell(str(file)), caption=f"shares of {found.attempts} attempts")
    for column in ("outcome", "attempts", "share", "95% interval"):
        table.add_column(column)
    for name, share in found.shares.items():
        count = str(round(share.value * share.n))
        interval = f"{share.low:.3f} to {share.high:.3f}"
        table.add_row(name.replace("_", " "), count, f"{share.value:.3f}", interval)
    Console().print(table)
    if found.accepted < found.wanted:
        print(
            f"Note: {found.accepted} of the {found.wanted} prompts that were wanted; the others "
            "had all their tries.",
            file=sys.stderr,
        )
