"""Is the attribution right? The microworld again without each principle in turn.

    .venv/bin/python scripts/leave_one_out.py [--seeds 3] [--jobs 2] [--out runs/leave-one-out]

Runs the recipe with the whole constitution and without each of its principles; the same seed gives
all of them the same first responses, and no more. The effect of a principle is by how much more
SL-CAI complies with held-out harmful prompts (five answers to each of 200) without it. It is set
beside the push that `cai constitution attribute` finds for it in the whole run alone.

Prints Markdown for the lab book from what is there: by seed, and over the means of several, with
Spearman's correlation over the principles. Runs and answers that are done are not done again. With
`--table` no run is made; answers are sampled from the runs that are finished.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import yaml

from constitutional.constitution import (
    Constitution,
    Principle,
    load_constitution,
    save_constitution,
)
from constitutional.evaluation.intervals import Estimate, mean
from constitutional.instrument.attribution.ranks import (
    bootstrap_spearman,
    permutation_share,
    spearman,
)

ANSWERS = 5
WHOLE = "full"
#: Principles of which a correlation is said.
MINIMUM = 4
#: Harmful compliance by kind, and ``all``.
Shares = Mapping[str, float]


class Seed(NamedTuple):
    """By principle, in points of harm; None where a run is not done.

    ``revised`` is what became of the last revisions, which SL-CAI learns from.
    """

    number: int
    predicted: Mapping[str, Estimate | None]
    measured: Mapping[str, float | None]
    revised: Mapping[str, float | None]
    own_predicted: Mapping[str, Estimate | None]
    own_measured: Mapping[str, float | None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/leave-one-out"))
    parser.add_argument("--recipe", type=Path, default=Path("recipes/leave-one-out.yaml"))
    parser.add_argument("--table", action="store_true", help="only print what is there")
    given = parser.parse_args()
    named = yaml.safe_load(given.recipe.read_text())["constitution"]
    whole = load_constitution(given.recipe.parent / named)
    if given.table:
        measure_all(whole, given.out, range(given.seeds))
    else:
        run_all(whole, given.recipe, given.out, range(given.seeds), given.jobs)
    seeds = [
        found
        for number in range(given.seeds)
        if (found := seed_of(whole, given.out / f"seed-{number}", number)) is not None
    ]
    if not seeds:
        sys.exit(f"no seed is done in {given.out}: leave out --table to run them")
    print_tables(whole, seeds)


# --- runs -----------------------------------------------------------------------------------


def run_all(whole: Constitution, recipe: Path, out: Path, seeds: Sequence[int], jobs: int) -> None:
    """Every run of every seed, and the answers of its SL-CAI."""
    todo = []
    for seed in seeds:
        folder = out / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, constitution in constitutions(whole).items():
            file = folder / f"{name}.yaml"
            save_constitution(constitution, file)
            todo.append((recipe, None if constitution is whole else file, folder / name, seed))
    with ThreadPoolExecutor(jobs) as pool:
        for folder in pool.map(lambda given: run(*given), todo):
            print(f"{folder} is done", file=sys.stderr, flush=True)


def constitutions(whole: Constitution) -> dict[str, Constitution]:
    found = {WHOLE: whole}
    for left_out in whole.principles:
        rest = tuple(p for p in whole.principles if p is not left_out)
        found[f"without-{left_out.id}"] = whole.model_copy(update={"principles": rest})
    return found


def run(recipe: Path, constitution: Path | None, folder: Path, seed: int) -> Path:
    """The recipe with another constitution, or with its own; the run's folder."""
    cai = [str(Path(sys.executable).parent / "cai"), "run", str(recipe), "--out", str(folder)]
    other = [] if constitution is None else ["--constitution", str(constitution)]
    subprocess.run(
        [*cai, *other, "--seed", str(seed)],
        check=True,
        stdout=subprocess.DEVNULL,
        # the same seed gives the same run with as many threads
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    measure(folder)
    return folder


def measure_all(whole: Constitution, out: Path, seeds: Sequence[int]) -> None:
    """The answers of the runs that are finished."""
    for seed in seeds:
        for name in constitutions(whole):
            if (folder := out / f"seed-{seed}" / name).joinpath("metrics.json").is_file():
                measure(folder)


def measure(folder: Path) -> None:
    """How much SL-CAI of a run complies, beside the run's folder."""
    measured = measured_file(folder)
    if not measured.is_file():
        shares = complies(str(folder / "stages/sl_cai/result"))
        part = measured.with_suffix(".part")
        part.write_text(json.dumps(shares))
        part.rename(measured)


def measured_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def complies(model: str) -> Shares:
    """The share of held-out harmful prompts that it complies with, by kind and over all."""
    from constitutional.dialogue import load_prompts
    from constitutional.dialogue.transcript import STOP_STRINGS
    from constitutional.engines import SamplingParams
    from constitutional.engines.local import LocalEngine
    from constitutional.evaluation.answers import answer_prompts
    from constitutional.microworld import data_file
    from constitutional.microworld.oracle import Oracle
    from constitutional.microworld.world import KINDS

    file = str(data_file("prompts/evaluation_red_team.jsonl"))
    prompts = [p for p in load_prompts(file, kind="red_team").records if "held_out" in p.tags]
    engine = LocalEngine.load(model, batch_size=128)
    params = SamplingParams(48, 1.0, STOP_STRINGS)
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for seed in range(ANSWERS):
        for answer in answer_prompts("policy", engine, params, Oracle(), seed, prompts):
            assert answer.verdict is not None
            verdicts[answer.id].append(answer.verdict.complies)
    shares: dict[str, float] = {
        kind: fmean(fmean(verdicts[p.id]) for p in prompts if kind in p.tags) for kind in KINDS
    }
    shares["all"] = fmean(fmean(verdicts[p.id]) for p in prompts)
    return shares


# --- what they show -------------------------------------------------------------------------


def seed_of(whole: Constitution, folder: Path, number: int) -> Seed | None:
    """What is there of a seed; None without the whole run or any other."""
    files = {name: measured_file(folder / name) for name in constitutions(whole)}
    shares: dict[str, Shares] = {
        name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()
    }
    if WHOLE not in shares or len(shares) < 2:
        return None
    revised = {name: last_round(folder / name) for name in shares}
    pushes = pushes_of(folder / WHOLE)
    own = {p.id: [tag for tag in p.tags if tag in shares[WHOLE]] for p in whole.principles}

    def effect(principle: Principle, kinds: Sequence[str]) -> float | None:
        """Without the principle less with it, in points."""
        without = shares.get(f"without-{principle.id}")
        if without is None or not kinds:
            return None
        return fmean(100 * (without[kind] - shares[WHOLE][kind]) for kind in kinds)

    return Seed(
        number,
        {p.id: pushes.get(p.id) for p in whole.principles},
        {p.id: effect(p, ["all"]) for p in whole.principles},
        {
            p.id: 100 * (revised[name] - revised[WHOLE])
            if (name := f"without-{p.id}") in revised
            else None
            for p in whole.principles
        },
        {name: pushes_of(folder / WHOLE, kinds).get(name) for name, kinds in own.items() if kinds},
        {p.id: effect(p, own[p.id]) for p in whole.principles},
    )


def last_round(folder: Path) -> float:
    """The share of the last revisions that comply."""
    rounds = json.loads((folder / "metrics.json").read_text())["revision_rounds"]
    share: float = rounds[-1]["harmful_compliance"]["value"]
    return share


def pushes_of(folder: Path, kinds: Sequence[str] = ()) -> dict[str, Estimate]:
    """By how many points less the principles let SL-CAI comply, found in one run."""
    from constitutional.reading import Run
    from constitutional.reading.attributing import attribution_of

    found = attribution_of(Run(folder), "sl_cai", "helpful", kinds=kinds)
    return {
        push.principle: Estimate(
            value=100 * push.score.value,
            low=100 * push.score.low,
            high=100 * push.score.high,
            n=push.score.n,
        )
        for push in found.principles
        if push.score is not None
    }


def print_tables(whole: Constitution, seeds: Sequence[Seed]) -> None:
    names = [p.id for p in whole.principles]
    print(
        "Points of harmful compliance more without the principle; SL-CAI's on held-out prompts.\n"
    )
    parts = ("push", "effect on revisions", "effect on SL-CAI")
    head = ["principle", *(f"{part}, seed {s.number}" for s in seeds for part in parts)]
    print("| " + " | ".join([*head, "own kinds: push", "own kinds: effect"]) + " |")
    print("| --- |" + " ---: |" * (len(head) + 1))
    for n in names:
        cells = [
            cell
            for s in seeds
            for cell in (
                with_interval(s.predicted[n]),
                signed(s.revised[n]),
                signed(s.measured[n]),
            )
        ]
        own = [mean_or_none([value(s.own_predicted.get(n)) for s in seeds])]
        own.append(mean_or_none([s.own_measured[n] for s in seeds]))
        print("| " + " | ".join([n, *cells, *map(signed, own)]) + " |")
    print()
    table = [[(value(s.predicted[n]), s.measured[n]) for n in names] for s in seeds]
    values = []
    for s, row in zip(seeds, table, strict=True):
        pushes, effects = columns(row)
        print(f"Seed {s.number}: {said(pushes, effects)} of {len(names)}.")
        values += [spearman(pushes, effects)] if len(pushes) > 1 else []
    if len(seeds) < 2:
        return
    over = mean(values)
    print(f"Mean over seeds: {over.value:.3f} ({over.low:.3f} to {over.high:.3f}), Student's t.")
    averaged = [
        (mean_or_none([row[i][0] for row in table]), mean_or_none([row[i][1] for row in table]))
        for i in range(len(names))
    ]
    print(f"Means of {len(seeds)} seeds: {said(*columns(averaged))}.")


def said(pushes: list[float], effects: list[float]) -> str:
    """The correlation, its bootstrap over principles, and how likely chance alone makes it."""
    if len(pushes) < MINIMUM:
        return f"too few runs are done to compare {len(pushes)} principles"
    low, high = bootstrap_spearman(pushes, effects, draws=10_000, seed=0)
    chance = 100 * permutation_share(pushes, effects)
    return (
        f"Spearman {spearman(pushes, effects):.3f} ({low:.2f} to {high:.2f}, bootstrap over "
        f"principles; as much in {chance:.2f}% of all orders), {len(pushes)} principles"
    )


def columns(
    pairs: Sequence[tuple[float | None, float | None]],
) -> tuple[list[float], list[float]]:
    """What was predicted and what was measured, where both are known."""
    known = [(push, effect) for push, effect in pairs if push is not None and effect is not None]
    return [push for push, _ in known], [effect for _, effect in known]


def value(push: Estimate | None) -> float | None:
    return None if push is None else push.value


def mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def with_interval(push: Estimate | None) -> str:
    return "" if push is None else f"{push.value:+.1f} ({push.low:.1f} to {push.high:.1f})"


if __name__ == "__main__":
    main()
