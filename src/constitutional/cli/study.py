"""``cai study``: pre-registered studies, run and read."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from constitutional.errors import ConstitutionalError, InputError
from constitutional.report.names import printable

if TYPE_CHECKING:
    from constitutional.studies.reading import Study

OUT = Path("runs/studies")


def study(
    name: Annotated[
        str | None,
        typer.Argument(help="A registered study, a file of one's own, 'all', or 'evidence'."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Only so many of the registered seeds.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Run this arm alone; may be repeated.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Runs at once; as many as there are cores.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the runs are.")] = OUT,
    share: Annotated[bool, typer.Option(help="Let runs take equal stages from each other.")] = True,
    docs: Annotated[
        Path, typer.Option("--docs", help="Where 'evidence' writes, and keeps results.")
    ] = Path("docs"),
) -> None:
    """List the studies; run one, or go on with it; write what all have found (evidence)."""
    from constitutional.studies.reading import find_study, registered

    if name is None:
        _list(registered(), out, docs)
        return
    if name == "evidence":
        _evidence(registered(), out, docs)
        return
    studies = registered() if name == "all" else [find_study(name)]
    for each in studies:
        each.check()
        for arm in only or ():
            if arm not in each.registration.arms:
                known = ", ".join(each.registration.arms)
                raise InputError(f"study {each.name} has no arm {arm!r}; it has {known}")
    jobs = jobs or _cores()
    failed = [line for each in studies for line in _run(each, seeds, only, jobs, out, share=share)]
    if failed:
        raise ConstitutionalError(
            f"runs that failed: {len(failed)}, the first of them {failed[0]}; the same command "
            "goes on with them"
        )


def _run(
    study: Study, seeds: int | None, only: list[str] | None, jobs: int, out: Path, *, share: bool
) -> list[str]:
    """Run what is missing and write what was found; returns the failures."""
    from constitutional.report.summary import new_console
    from constitutional.runs.files import make_folder
    from constitutional.runs.lock import FolderLock
    from constitutional.studies.results import gather, write_results
    from constitutional.studies.running import SHARED, run_all, runs_of

    registration = study.registration
    make_folder(out / study.name)
    lock = FolderLock(out / study.name)
    try:
        runs = runs_of(study, out, registration.seeds[:seeds], only or list(registration.arms))
        failures = run_all(
            study,
            runs,
            jobs=jobs,
            share=out / SHARED if share else None,
            command="cai " + shlex.join(sys.argv[1:]),
            tell=_tell,
        )
        results = gather(study, out, failures)
        folder = write_results(study, results, out)
    finally:
        lock.release()
    from constitutional.studies.showing import show_results

    show_results(study, results, new_console())
    print(folder)
    return [f"{failure.run.name} ({failure.said})" for failure in failures]


def _list(studies: list[Study], out: Path, docs: Path) -> None:
    from constitutional.report.summary import new_console
    from constitutional.studies.evidence import find_results
    from constitutional.studies.showing import show_studies

    show_studies([find_results(each, out, docs) for each in studies], _cores(), new_console())


def _evidence(studies: list[Study], out: Path, docs: Path) -> None:
    from constitutional.studies.evidence import write_evidence

    if not docs.is_dir():
        raise InputError("there is no such folder: make it, or give --docs another", path=docs)
    for found in write_evidence(studies, out, docs):
        for remark in found.remarks:
            _tell(f"{found.study.name}: {remark}")
    print(docs / "evidence.md")


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(said: str) -> None:
    print(printable(said), file=sys.stderr, flush=True)
