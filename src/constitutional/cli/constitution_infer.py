"""``cai constitution infer`` and ``audit``: the principles behind labels."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Goal(StrEnum):
    """What was compared for."""

    HARMLESSNESS = "harmlessness"
    HELPFULNESS = "helpfulness"


Source = Annotated[
    str, typer.Argument(help="A run's folder, comparisons of ours, or pairs of hh-rlhf or TRL.")
]
Tester = Annotated[
    str | None, typer.Option("--tester", help="The model that is asked what each principle says.")
]
Stage = Annotated[
    str | None, typer.Option("--stage", help="Which comparisons of a run, such as comparisons_ai.")
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="So many comparisons at most, drawn by seed.")
]
Seed = Annotated[int, typer.Option("--seed", min=0)]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def infer(
    comparisons: Source,
    tester: Tester = None,
    generator: Annotated[
        str | None, typer.Option("--generator", help="A model that is asked for candidates.")
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option("--candidates", help="A constitution file of candidates (or 'default')."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="The constitution to write; answers are kept beside it.")
    ] = Path("inferred.yaml"),
    keep: Annotated[int, typer.Option("--keep", min=1, help="Principles at most.")] = 8,
    ask: Annotated[
        int, typer.Option("--ask", min=1, help="Comparisons that the generator is shown.")
    ] = 50,
    goal: Annotated[Goal, typer.Option("--goal")] = Goal.HARMLESSNESS,
    stage: Stage = None,
    limit: Limit = None,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    as_json: AsJson = False,
) -> None:
    """Find the principles behind preferences: those that foretell preferences held out.

    The same command goes on where it stopped. Without --tester the generator is the tester.
    """
    from constitutional.cli.constitution_infer_run import Inference, show_inferred
    from constitutional.errors import InputError
    from constitutional.instrument.comparisons import drawn, read_labelled
    from constitutional.instrument.inferring import InferConfig, divide

    if (generator is None) == (candidates is None):
        raise InputError("candidates come from a model or a file: give --generator or --candidates")
    asked = tester or generator
    if asked is None:
        raise InputError("give a --tester, the model that is asked what each candidate says")
    found = read_labelled(comparisons, goal=goal.value, stage=stage, seed=seed)
    parts = divide(drawn(found.comparisons, limit, seed), seed)
    config = InferConfig(keep=keep, ask=ask, seed=seed)
    inference = Inference(parts, config, asked, generator, candidates, out, batch_size)
    report, written = inference.made(found.left_out)
    print(report.model_dump_json(indent=2)) if as_json else show_inferred(report)
    if not written:
        typer.echo("Note: no candidate foretells the validation labels; no file written.", err=True)
        raise typer.Exit(1)


def audit(
    comparisons: Source,
    tester: Tester = None,
    constitution: Annotated[
        str | None,
        typer.Option("--constitution", help="The constitution; a run's own where left out."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="The folder where the tester's answers are kept.")
    ] = Path("audit.answers"),
    goal: Annotated[Goal, typer.Option("--goal")] = Goal.HARMLESSNESS,
    stage: Stage = None,
    limit: Limit = None,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    as_json: AsJson = False,
) -> None:
    """Show which principles labels follow, by a tester or by the readings that they have."""
    from constitutional.cli.constitution_infer_run import audit_by, show_audit
    from constitutional.errors import InputError
    from constitutional.instrument.auditing import audit as audited
    from constitutional.instrument.auditing import stored_readings
    from constitutional.instrument.comparisons import drawn, read_labelled
    from constitutional.recipe import named_constitution

    found = read_labelled(comparisons, goal=goal.value, stage=stage, seed=seed)
    ours = found.constitution if constitution is None else named_constitution(constitution)
    if ours is None:
        raise InputError("these comparisons come with no constitution: give --constitution")
    if not ours.comparing:
        raise InputError(f"constitution {ours.name!r} has no principle that can compare")
    some = drawn(found.comparisons, limit, seed)
    if tester is None:
        stored = stored_readings(ours.comparing, some)
        report = audited(
            ours.comparing,
            stored.comparisons,
            stored.said,
            said_by="the readings of the labels",
            seed=seed,
            left_out={**found.left_out, **stored.left_out},
        )
    else:
        report = audit_by(tester, ours, some, out, seed, batch_size, found.left_out)
    print(report.model_dump_json(indent=2)) if as_json else show_audit(report)
