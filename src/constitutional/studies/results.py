"""The results of a study: ``study.json``, a table and a figure, from its runs or from a record.

Only the numbers of each seed are ever read back; means, intervals and verdicts are made from them
by the registration each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from constitutional.errors import InputError
from constitutional.runs.files import atomic_write, explain, make_folder
from constitutional.runs.manifest import versions
from constitutional.studies.measuring import Measured, read_metrics, values_of
from constitutional.studies.reading import Study
from constitutional.studies.rules import Decision, Spread, Verdict, decide, overall, spread
from constitutional.studies.running import Failure, is_done, runs_of, seconds_of

STUDY = "study.json"


class Numbers(BaseModel):
    """A measure in an arm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    found: Spread
    seeds: dict[int, float]
    #: Registered seeds without a number: not run, stopped, failed, or nothing to measure.
    missing: tuple[int, ...]


class Results(BaseModel):
    """The contents of ``study.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    verdict: Verdict
    rules: tuple[Decision, ...]
    arms: dict[str, dict[str, Numbers]]
    #: Seeds with a run in at least one arm, and all registered ones.
    seeds: tuple[int, ...]
    registered_seeds: tuple[int, ...]
    #: Runs that ended with an error, by ARM/SEED, with what they said last.
    failures: dict[str, str]
    #: Runs that are there, and the processor seconds of all of them.
    runs: int
    seconds: float
    #: Fingerprints of the registration, and of each arm's recipe.
    registration: str
    recipes: dict[str, str]
    versions: dict[str, str]

    @property
    def cut_short(self) -> bool:
        """Whether fewer seeds were run than registered, in any arm."""
        return any(n.missing for arm in self.arms.values() for n in arm.values())


def gather(study: Study, out: Path, failures: Sequence[Failure] = ()) -> Results:
    """What the runs in ``out`` say, whichever of them are there."""
    registration = study.registration
    found: dict[tuple[str, int], Measured] = {}
    for run in runs_of(study, out, registration.seeds, tuple(registration.arms)):
        if is_done(study, run):
            found[run.arm, run.seed] = Measured(run.folder, read_metrics(run.folder))
    values = values_of(registration, found)
    seconds = seconds_of(out / study.name)
    return conclude(
        study,
        values,
        seeds=tuple(s for s in registration.seeds if any(seed == s for _, seed in found)),
        failures={failure.run.name: failure.said for failure in failures},
        runs=len(found),
        seconds=round(sum(seconds.get(f"{arm}/{seed}", 0.0) for arm, seed in found), 1),
        versions=versions(),
    )


def conclude(
    study: Study, values: Mapping[str, Mapping[str, Mapping[int, float]]], **circumstances: Any
) -> Results:
    """Means, intervals and verdicts from the numbers of each seed."""
    registration = study.registration
    decisions = tuple(decide(rule, values) for rule in registration.rules)
    arms = {
        arm: {
            name: Numbers(
                found=spread(by_seed.values()),
                seeds=dict(by_seed),
                missing=tuple(seed for seed in registration.seeds if seed not in by_seed),
            )
            for name, by_seed in measures.items()
        }
        for arm, measures in values.items()
    }
    return Results(
        study=study.name,
        verdict=overall(decision.verdict for decision in decisions),
        rules=decisions,
        arms=arms,
        registered_seeds=registration.seeds,
        registration=study.fingerprint,
        recipes=study.recipes,
        **circumstances,
    )


def again(study: Study, stored: Results) -> Results:
    """The same results, with everything but the numbers of the seeds made anew."""
    values = {
        arm: {name: numbers.seeds for name, numbers in measures.items()}
        for arm, measures in stored.arms.items()
    }
    kept = ("seeds", "failures", "runs", "seconds", "versions")
    return conclude(study, values, **{name: getattr(stored, name) for name in kept})


def read_results(path: Path) -> Results | None:
    """Results as they were stored; None where there are none."""
    try:
        return Results.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path) from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise InputError(
            f"expected the results of a study, but {where or 'the file'}: {fault['msg'].lower()}; "
            "remove it, or write it anew with cai study",
            path=path,
        ) from None


def as_stored(results: Results) -> bytes:
    """The bytes of ``study.json``."""
    return results.model_dump_json(indent=1).encode() + b"\n"


def write_results(study: Study, results: Results, out: Path) -> Path:
    """``study.json``, ``table.md`` and the figure in the study's folder, which is returned."""
    from constitutional.studies.drawing import draw
    from constitutional.studies.tables import table

    folder = out / study.name
    make_folder(folder)
    atomic_write(folder / STUDY, as_stored(results))
    atomic_write(folder / "table.md", table(study, results).encode())
    draw(study, results, folder)
    return folder
