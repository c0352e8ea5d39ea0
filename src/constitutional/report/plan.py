"""A plan and a machine on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from constitutional.planning.amounts import Amount
    from constitutional.planning.machine import Machine
    from constitutional.planning.plan import Plan

_PREFIXES = (
    *((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P")),
    *((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")),
)


def short(number: float) -> str:
    """Three figures and a prefix: 12,345 is 12.3k."""
    for size, prefix in _PREFIXES:
        if number >= 0.9995 * size:
            return f"{number / size:.3g}{prefix}" if number < 999.5 * size else f"{number:.3g}"
    return f"{number:.3g}"


def shown(found: Amount | None) -> str:
    """The estimate with its range; an exact number alone."""
    if found is None:
        return "unknown"
    if found.is_exact:
        return f"{found.value:,.0f}" if found.value < 1e6 else short(found.value)
    return f"{short(found.value)} ({short(found.low)} to {short(found.high)})"


def lasting(seconds: Amount | None) -> str:
    """Seconds in the unit that reads best."""
    if seconds is None:
        return "unknown"
    for size, unit in ((86400 * 2, "d"), (3600, "h"), (60, "min")):
        if seconds.value >= size:
            each = seconds * (1 / (86400 if unit == "d" else size))
            return f"{shown(each)} {unit}"
    return f"{shown(seconds)} s"


def print_plan(plan: Plan, gpu_usd: float | None = None) -> None:
    """A row for each stage, then the whole, what does not fit, and what the figures rest on."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = ("stage", "requests", "tokens read", "new tokens", "trained on", "FLOP")
    table = Table(title=Text(f"{plan.recipe} on {plan.on}"))
    for column in (*columns, "memory, bytes", "time", "disk, bytes"):
        table.add_column(column, overflow="fold")
    for s in plan.stages:
        counts = (s.requests, s.prompt_tokens, s.new_tokens, s.trained_tokens, s.flops)
        cells = [shown(each) if each.high else "" for each in counts]
        memory, time = shown(s.memory.peak), lasting(s.seconds)
        table.add_row(Text(s.name), *cells, memory, time, shown(s.disk))
    # a pipe has no width; a table that is folded there cannot be read
    console = Console()
    Console(width=None if console.is_terminal else 200).print(table)
    for line in summary_lines(plan, gpu_usd):
        print(line)


def summary_lines(plan: Plan, gpu_usd: float | None = None) -> Iterator[str]:
    """The whole of a plan in sentences; with what a GPU hour costs, the rent."""
    seconds = None if plan.hours is None else plan.hours * 3600
    devices = "" if plan.device_hours is None else f"; GPU hours: {shown(plan.device_hours)}"
    yield f"Time: {lasting(seconds)}{devices}"
    if gpu_usd is not None and plan.device_hours is not None:
        rent = shown(plan.device_hours * gpu_usd)
        yield f"Rent: {rent} USD, at {gpu_usd:g} USD for a GPU hour"
    widest = max(plan.stages, key=lambda stage: stage.memory.peak.value)
    yield f"Memory: {shown(widest.memory.peak)} bytes on each device at most, in {widest.name}"
    yield f"Disk: {shown(plan.disk)} bytes, and {shown(plan.disk_passing)} while a stage runs"
    yield f"API: {plan.api}" + ("" if plan.api_usd is None else f", {shown(plan.api_usd)} USD")
    for misfit in plan.misfits:
        yield (
            f"Does not fit: {misfit.stage} needs {shown(misfit.needs)} bytes on each device, and "
            f"there are {short(misfit.has)}"
        )
        for remedy in misfit.remedies:
            yield f"  fits with {remedy}"
        if not misfit.remedies:
            yield "  no change of one key makes it fit: take a smaller model"
    for note in plan.notes:
        yield f"Note: {note}"


def machine_lines(machine: Machine) -> Iterator[str]:
    """A machine in lines of two columns."""
    gib = 2**30
    memory = "unknown" if machine.memory is None else f"{machine.memory / gib:.1f} GiB"
    gpus = ", ".join(f"{g.name} ({g.memory / gib:.0f} GiB)" for g in machine.gpus) or "none found"
    libraries = ", ".join(f"{n} {v or 'missing'}" for n, v in machine.libraries.items())
    rows = {
        "constitutional": machine.package,
        "Python": f"{machine.python} on {machine.system}",
        "cores": str(machine.cores),
        "memory": memory,
        "free disk here": f"{machine.free_disk / gib:.1f} GiB",
        "GPUs": gpus,
        "accelerator": machine.accelerator,
        "Hugging Face hub": machine.hub,
        "libraries": libraries,
    }
    for name, value in rows.items():
        yield f"{name:<17} {value}"
    for extra in machine.extras:
        there = ", ".join(f"{n} {v}" for n, v in extra.installed.items())
        state = f"installed ({there})"
        if extra.missing:
            state = f"missing {', '.join(extra.missing)}: {extra.install}"
        yield f"extra {extra.name:<11} {extra.enables}; {state}"
