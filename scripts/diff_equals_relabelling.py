"""Whether ``cai constitution diff`` finds what labelling everything again finds, and what it asks.

    .venv/bin/python scripts/diff_equals_relabelling.py [--out FOLDER] [--comparisons 200]

A small run of the microworld with real models labels its comparisons by one principle each, in both
orders, without and with a chain of thought. Then each changed constitution below (or those named by
``--change``) labels them twice: only what changes (``diff``), and everything anew. Prints a row for
each, and ends with 1 where one label or one flip differs, or where something else was asked than
was said beforehand. What is made lies in the folder and is used again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from constitutional.constitution import Constitution, save_constitution
from constitutional.engines import load_engine
from constitutional.engines.base import Capabilities, Completion, Engine, Prompt, SamplingParams
from constitutional.feedback import FeedbackModel
from constitutional.inputs import load_inputs
from constitutional.instrument.diff import make_diff, plan_diff
from constitutional.instrument.labelled import LabelledRun, Labels, labelled_run, pair_of
from constitutional.instrument.relabelling import Relabelling
from constitutional.microworld import data_file
from constitutional.pipeline import constitutional_ai
from constitutional.recipe import load_recipe
from constitutional.runs import QuietProgress, RunFolder
from constitutional.runs.records import Comparison

RECIPE: dict[str, Any] = {
    "name": "labelled",
    "constitution": "microworld:constitution.yaml",
    "models": {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"},
    "prompts": {
        "red_team": {"file": "microworld:prompts/supervised_red_team.jsonl", "limit": 24},
        "helpful": {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 24},
    },
    "supervised": {"rounds": 1, "few_shots": 0, "max_new_tokens": 48},
    "finetune": {"learning_rate": 3e-4, "batch_size": 8},
    "rl": {
        "arms": ["rl_cai", "rl_cai_cot"],
        "comparisons": {"file": "microworld:prompts/preference_red_team.jsonl"},
        "contrast": "pretrained",
        "pairs": {"max_new_tokens": 48},
        "feedback": {"orders": "both", "few_shots": 0, "principles_per_pair": 1},
        "helpfulness": {
            "prompts": {"file": "microworld:prompts/preference_helpful.jsonl", "limit": 24}
        },
        "preference": {"learning_rate": 3e-4, "batch_size": 16},
        "red_team": {"file": "microworld:prompts/rl_red_team.jsonl", "limit": 16},
        "helpful": {"file": "microworld:prompts/rl_helpful.jsonl", "limit": 16},
        "ppo": {"steps": 1, "batch_size": 8, "minibatch_size": 4, "max_new_tokens": 40},
    },
    "block": 64,
}


class Counted:
    """An engine that counts the questions it weighs."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.name, self.fingerprint, self.style = engine.name, engine.fingerprint, engine.style
        self.capabilities: Capabilities = engine.capabilities
        self.questions = 0

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """As the engine does."""
        return self._engine.sample(prompts, params, seeds)

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """As the engine does, and counted."""
        self.questions += len(prompts)
        return self._engine.choice_logprobs(prompts, choices)

    def close(self) -> None:
        """As the engine does."""
        self._engine.close()


class Row(NamedTuple):
    """A changed constitution and a stage: what was asked, and how both ways agree.

    ``said`` is the number of questions that was told beforehand, ``asked`` and ``of`` are counted
    at the engine.
    """

    change: str
    stage: str
    touched: int
    said: int
    asked: int
    of: int
    flips: int
    flips_anew: int
    same_flips: bool
    largest_difference: float


def changed(constitution: Constitution) -> Mapping[str, Constitution]:
    """Constitutions that differ from this one, by what differs."""
    principles = constitution.principles
    told = {p.id: p for p in principles}

    def with_(*new: Any) -> Constitution:
        return Constitution(name="changed", principles=new, few_shots=constitution.few_shots)

    def text(old: str, words: str) -> Constitution:
        one = told[old].model_copy(update={"text": words})
        return with_(*(one if p.id == old else p for p in principles))

    extra = told["cruel"].model_copy(update={"id": "nosy", "text": "Answers must not be nosy."})
    heavy = told["cruel"].model_copy(update={"weight": 3.0})
    return {
        "general to intrusive": text("no-harm", "Do not help with anything intrusive."),
        "cruel to intrusive": text("cruel", "Answers must not be intrusive."),
        "one added at the end": with_(*principles, extra),
        "one added in front": with_(extra, *principles),
        "one removed": with_(*(p for p in principles if p.id != "cruel")),
        "one weight tripled": with_(*(heavy if p.id == "cruel" else p for p in principles)),
    }


def make_run(out: Path, comparisons: int) -> LabelledRun:
    """The run, made once."""
    recipe = {**RECIPE, "rl": {**RECIPE["rl"]}}
    recipe["rl"]["comparisons"] = {**RECIPE["rl"]["comparisons"], "limit": comparisons}
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    read = load_recipe(out / "recipe.yaml")
    inputs = load_inputs(read, out)
    with RunFolder.open(
        out / "run", read.model_dump(mode="json"), command="", inputs=inputs.hashes
    ) as run:
        constitutional_ai(read, inputs, run, QuietProgress())
    return labelled_run(out / "run")


def compare(run: LabelledRun, change: str, new: Constitution, out: Path) -> Iterator[Row]:
    """Both ways to label by ``new``, for each stage of labels."""
    file = out / f"{change.replace(' ', '-')}.yaml"
    save_constitution(new, file)
    plan = plan_diff(run, str(run.path / "constitution.yaml"), str(file))
    effect = make_diff(plan, command="", progress=QuietProgress())
    for cost, found, (labels, asked) in zip(plan.costs, effect.shifts, plan.asked, strict=True):
        engine = load_engine(data_file("helpful" if labels.config.cot else "pretrained"))
        everything, some = Counted(engine), Counted(engine)
        anew = relabelled(everything, run, labels, new)
        work = Relabelling("labels", run.constitution, new, labels.config, run.recipe.seed)
        work([each.comparison for each in asked], {"labels": some})  # type: ignore[arg-type]
        folder = run.path / "diffs" / new.fingerprint[:16] / "stages" / labels.stage
        again = read(folder) if asked else {}
        partly = [again.get(c.id, c) for c in labels.comparisons]
        flips = {flip.id for flip in found.flips}
        yield Row(
            change,
            labels.stage,
            cost.comparisons,
            cost.questions + cost.kept,
            some.questions,
            everything.questions,
            len(flips),
            len(flips_anew := flipped(labels.comparisons, anew)),
            flips == flips_anew,
            max(apart(a, b) for a, b in zip(partly, anew, strict=True)),
        )


def relabelled(
    engine: Engine, run: LabelledRun, labels: Labels, new: Constitution
) -> list[Comparison]:
    """Everything labelled anew."""
    model = FeedbackModel(engine, new, labels.config, run.recipe.seed)
    return model.label([pair_of(comparison) for comparison in labels.comparisons])


def read(folder: Path) -> dict[str, Comparison]:
    """The comparisons of a stage by id."""
    from constitutional.runs import read_records

    return {comparison.id: comparison for comparison in read_records(folder, Comparison)}


def flipped(old: Sequence[Comparison], new: Sequence[Comparison]) -> set[str]:
    """The ids of comparisons whose label crosses 1/2."""
    both = ((a.id, a.prob_a, b.prob_a) for a, b in zip(old, new, strict=True))
    return {i for i, p, q in both if p is not None and q is not None and (p - 0.5) * (q - 0.5) < 0}


def apart(one: Comparison, other: Comparison) -> float:
    """How far two labels are apart; infinite where one is missing, or made by other principles."""
    if [r.principle for r in one.readings] != [r.principle for r in other.readings]:
        return float("inf")
    if one.prob_a is None or other.prob_a is None:
        return 0.0 if one.prob_a == other.prob_a else float("inf")
    return abs(one.prob_a - other.prob_a)


def main() -> int:
    """Print the rows; 1 where both ways differ."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "diff-equals")
    arguments.add_argument("--comparisons", type=int, default=200)
    arguments.add_argument("--change", action="append", help="Only this one (again for more).")
    given = arguments.parse_args()
    run = make_run(given.out, given.comparisons)
    print("| change | stage | comparisons touched | questions asked | flips | anew | furthest |")
    wrong = False
    for change, new in changed(run.constitution).items():
        if given.change and change not in given.change:
            continue
        for row in compare(run, change, new, given.out):
            wrong |= not row.same_flips or row.largest_difference > 1e-5 or row.asked != row.said
            print(
                f"| {row.change} | {row.stage} | {row.touched} of {given.comparisons} | "
                f"{row.asked} of {row.of} | {row.flips} | {row.flips_anew} | "
                f"{row.largest_difference:.1e} |",
                flush=True,
            )
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
