"""Is the attribution right? The microworld again without each principle in turn.

    .venv/bin/python scripts/leave_one_out.py [--seeds 3] [--jobs 2] [--out runs/leave-one-out]

Runs the recipe with the whole constitution and without each of its principles; the same seed gives
all of them the same first responses, and no more. The effect of a principle is by how much more
SL-CAI complies with held-out harmful prompts (five answers to each of 200) without it. It is set
beside the push that `cai constitution attribute` finds for it in the whole run alone.

Prints Markdown for the lab book from all seeds that are done, each with Spearman's correlation over
the principles, and over the means of the seeds with a permutation test and an interval. Runs and
answers that are done are not done again. With `--table` nothing is run.
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
#: Harmful compliance by kind, and ``all``.
Shares = Mapping[str, float]


class Seed(NamedTuple):
    """By principle, in points of held-out harm: what was predicted and what was measured."""

    number: int
    predicted: Mapping[str, Estimate | None]
    measured: Mapping[str, float]
    own_predicted: Mapping[str, float | None]
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
    if not given.table:
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
    cai = [str(Path(sys.executable).parent / "cai"), "run", recipe, "--out", folder]
    other = [] if constitution is None else ["--constitution", constitution]
    subprocess.run(
        [*cai, *other, "--seed", str(seed)],
        check=True,
        stdout=subprocess.DEVNULL,
        # the same seed gives the same run with as many threads
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    measured = measured_file(folder)
    if not measured.is_file():
        shares = complies(str(folder / "stages/sl_cai/result"))
        part = measured.with_suffix(".part")
        part.write_text(json.dumps(shares))
        part.rename(measured)
    return folder


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
    shares = {
        kind: fmean(fmean(verdicts[p.id]) for p in prompts if kind in p.tags) for kind in KINDS
    }
    return {"all": fmean(fmean(verdicts[p.id]) for p in prompts), **shares}


# --- what they show -------------------------------------------------------------------------


def seed_of(whole: Constitution, folder: Path, number: int) -> Seed | None:
    """None where one of its runs is not done."""
    files = {name: measured_file(folder / name) for name in constitutions(whole)}
    if not all(file.is_file() for file in files.values()):
        return None
    shares: dict[str, Shares] = {name: json.loads(file.read_text()) for name, file in files.items()}

    def effect(principle: Principle, *kinds: str) -> float | None:
        """Without the principle less with it, in points."""
        without = shares[f"without-{principle.id}"]
        return fmean(100 * (without[k] - shares[WHOLE][k]) for k in kinds) if kinds else None

    pushes = pushes_of(folder / WHOLE)
    own_pushes = {
        p.id: pushes_of(folder / WHOLE, own_kinds(p, shares[WHOLE])).get(p.id)
        for p in whole.principles
        if own_kinds(p, shares[WHOLE])
    }
    return Seed(
        number,
        {p.id: pushes.get(p.id) for p in whole.principles},
        {p.id: effect(p, "all") or 0.0 for p in whole.principles},
        {name: push and push.value for name, push in own_pushes.items()},
        {p.id: effect(p, *own_kinds(p, shares[WHOLE])) for p in whole.principles},
    )


def own_kinds(principle: Principle, shares: Shares) -> tuple[str, ...]:
    return tuple(tag for tag in principle.tags if tag in shares)


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
    print("Points of held-out harmful compliance more without the principle.\n")
    head = [
        "principle",
        *(f"{what}, seed {s.number}" for s in seeds for what in ("push", "effect")),
    ]
    print("| " + " | ".join([*head, "own kinds: push", "own kinds: effect"]) + " |")
    print("| --- |" + " ---: |" * (len(head) + 1))
    for p in whole.principles:
        cells = [
            cell
            for s in seeds
            for cell in (with_interval(s.predicted[p.id]), f"{s.measured[p.id]:+.1f}")
        ]
        own = [mean_of([s.own_predicted.get(p.id) for s in seeds])]
        own.append(mean_of([s.own_measured.get(p.id) for s in seeds]))
        print("| " + " | ".join([p.id, *cells, *own]) + " |")
    print()
    names = [p.id for p in whole.principles]
    table = [
        [(push.value if (push := s.predicted[n]) else None, s.measured[n]) for n in names]
        for s in seeds
    ]
    values = [spearman(*columns(row)) for row in table]
    for s, value in zip(seeds, values, strict=True):
        print(f"Seed {s.number}: Spearman {value:.3f} over {len(names)} principles.")
    if len(values) > 1:
        over = mean(values)
        print(
            f"Mean over seeds: {over.value:.3f} ({over.low:.3f} to {over.high:.3f}), Student's t."
        )
    averaged = [
        (mean_or_none([row[i][0] for row in table]), fmean(row[i][1] for row in table))
        for i in range(len(names))
    ]
    pushes, effects = columns(averaged)
    low, high = bootstrap_spearman(pushes, effects, draws=10_000, seed=0)
    print(
        f"Means of {len(seeds)} seeds: Spearman {spearman(pushes, effects):.3f} over {len(pushes)} "
        f"principles ({low:.2f} to {high:.2f}, 95% bootstrap over principles; as much by chance in "
        f"{100 * permutation_share(pushes, effects):.2f}% of the orders)."
    )


def columns(pairs: Sequence[tuple[float | None, float]]) -> tuple[list[float], list[float]]:
    known = [(first, second) for first, second in pairs if first is not None]
    return [first for first, _ in known], [second for _, second in known]


def mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def mean_of(values: Sequence[float | None]) -> str:
    found = mean_or_none(values)
    return "" if found is None else f"{found:+.1f}"


def with_interval(push: Estimate | None) -> str:
    return "" if push is None else f"{push.value:+.1f} ({push.low:.1f} to {push.high:.1f})"


if __name__ == "__main__":
    main()
