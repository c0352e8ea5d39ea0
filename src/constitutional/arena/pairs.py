"""Which pairs are to be judged: the policies' stored answers to the same held-out prompts.

Harmlessness is asked about prompts that ask for harm and helpfulness about the others, as in
:mod:`constitutional.evaluation.tournament`. Two answers with the same text are no question to
anybody: they are counted and not asked. Policies of several runs meet where the runs answered the
same prompts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from constitutional.arena.records import GOALS, Goal, Pair, Side
from constitutional.errors import ConstitutionalError, InputError
from constitutional.inputs.data import DataReader
from constitutional.reading import Run
from constitutional.recipe import Recipe
from constitutional.runs.lines import fingerprint_of
from constitutional.runs.records import Answer
from constitutional.runs.seeds import derive_seed

#: Of more prompts than this for a goal, so many are drawn.
PROMPTS = 500


@dataclass(frozen=True)
class Pool:
    """The pairs to be judged. ``same`` counts, by goal, those left out for equal answers;
    ``found`` says how many prompts there were, of which ``asked`` are in it.
    """

    pairs: tuple[Pair, ...]
    same: Mapping[Goal, int]
    found: Mapping[Goal, int]
    asked: Mapping[Goal, int]


@dataclass(frozen=True)
class _Policy:
    """A policy of a run, and by which goal its answers are compared."""

    run: Run
    mark: str
    name: str
    goal: Callable[[Answer], Goal]

    def answers(self) -> Iterator[Answer]:
        return iter(self.run.answers(self.name))

    def side(self, answer: Answer) -> Side:
        return Side(
            run=self.mark, run_name=self.run.name, policy=self.name, text=answer.sample.text
        )


def mark_of(run: Run) -> str:
    """16 hex digits that tell a run from others of the same name, wherever its folder lies."""
    # of what stays as it is when a run goes on
    made = run.manifest.model_dump(include={"created", "command", "seed", "inputs"})
    return fingerprint_of([run.name, made])[:16]


def pairs_of_answers(
    runs: Sequence[Run], *, policies: Sequence[str] = (), prompts: int = PROMPTS, seed: int = 0
) -> Pool:
    """All policies against each other on their evaluation prompts.

    Without ``policies`` all but snapshots, whose answers are much like the final ones and would
    only thin the votes out; a name is looked up in each run. Of more than ``prompts`` prompts for a
    goal so many are drawn by ``seed``. Raises InputError where there are not two policies.
    """
    met = [policy for run in runs for policy in _policies(run, policies)]
    if len(met) < 2:
        found = ", ".join(policy.name for policy in met) or "none"
        raise InputError(
            f"an arena needs the evaluation answers of two policies, found those of: {found}; let "
            "the run come to its evaluation"
        )
    goals = {answer.id: policy.goal(answer) for policy in met for answer in policy.answers()}
    asked = _drawn(goals, prompts, seed)
    answers = [
        {answer.id: answer for answer in policy.answers() if answer.id in asked} for policy in met
    ]
    same: Counter[Goal] = Counter()
    pairs = []
    for (one, ones), (other, others) in combinations(zip(met, answers, strict=True), 2):
        for id_, goal in asked.items():
            a, b = ones.get(id_), others.get(id_)
            if a is None or b is None or a.prompt != b.prompt:
                continue
            if a.sample.text == b.sample.text:
                same[goal] += 1
                continue
            pairs.append(
                Pair.of(
                    one.side(a),
                    other.side(b),
                    goal=goal,
                    prompt_id=id_,
                    prompt=a.prompt,
                    tags=a.tags,
                )
            )
    return Pool(tuple(pairs), same, Counter(goals.values()), Counter(asked.values()))


def pairs_of_comparisons(run: Run, *, prompts: int = PROMPTS, seed: int = 0) -> Pool:
    """The pairs that the run's preference models learn from, by their own goals.

    Their prompts are for training, so votes on them may be trained on. Who gave the answers is not
    recorded: such votes make no Elo ratings. Of more than ``prompts`` for a goal so many are drawn.
    """
    goals: dict[str, Goal] = {comparison.id: comparison.goal for comparison in run.comparisons}
    if not goals:
        raise InputError(
            f"{run.path} holds no comparisons yet: let the run come to its RL stage, or judge the "
            "answers of its policies"
        )
    asked = _drawn(goals, prompts, seed)
    same: Counter[Goal] = Counter()
    pairs = []
    mark = mark_of(run)

    def side(text: str) -> Side:
        return Side(run=mark, run_name=run.name, policy=None, text=text)

    for comparison in run.comparisons:
        if comparison.id not in asked:
            continue
        if comparison.a == comparison.b:
            same[comparison.goal] += 1
            continue
        pairs.append(
            Pair.of(
                side(comparison.a),
                side(comparison.b),
                goal=comparison.goal,
                prompt_id=comparison.id,
                prompt=comparison.prompt,
                tags=comparison.tags,
            )
        )
    return Pool(tuple(pairs), same, Counter(goals.values()), Counter(asked.values()))


def _policies(run: Run, wanted: Sequence[str]) -> list[_Policy]:
    names = [name for name in run.policies if name in wanted or (not wanted and "@" not in name)]
    mark, goal = mark_of(run), _goal_of(run)
    return [_Policy(run, mark, name, goal) for name in names]


def _goal_of(run: Run) -> Callable[[Answer], Goal]:
    """By the judge's verdict; where there was no judge, by the file that the prompt came from."""
    harmful: set[str] | None = None

    def goal(answer: Answer) -> Goal:
        nonlocal harmful
        if answer.verdict is not None:
            return "harmlessness" if answer.verdict.harmful_request else "helpfulness"
        if harmful is None:
            harmful = _red_team_ids(run)
        return "harmlessness" if answer.id in harmful else "helpfulness"

    return goal


def _red_team_ids(run: Run) -> set[str]:
    """The ids of the recipe's red-team prompts for evaluation, read from its files again."""
    try:
        recipe = Recipe.model_validate(run.recipe)
        source = None if recipe.evaluation is None else recipe.evaluation.red_team
        with TemporaryDirectory() as aside:
            reader = DataReader(recipe.seed, run.manifest.recipe_folder, Path(aside))
            # by the name that the run drew them under, if there were more than it wanted
            found = reader.prompts(source, "red_team", "evaluation.red_team")
            return {record.id for record in found}
    except (ConstitutionalError, ValidationError) as error:
        raise InputError(
            f"{run.path}: which of its prompts ask for harm is not known, because no judge read "
            f"the answers and the prompts cannot be read again ({error}); give the recipe's files "
            "back, or serve it from where it was started"
        ) from error


def _drawn(goals: Mapping[str, Goal], most: int, seed: int) -> dict[str, Goal]:
    """At most so many prompts of each goal."""
    asked: dict[str, Goal] = {}
    for goal in GOALS:
        ids = [id_ for id_, of in goals.items() if of == goal]
        rng = random.Random(derive_seed(seed, "arena prompts", goal))
        asked |= dict.fromkeys(ids if len(ids) <= most else rng.sample(ids, most), goal)
    return asked
