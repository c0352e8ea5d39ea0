"""An AI judge in a run: Elo where there is no oracle, by the constitution and in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from constitutional.constitution import Constitution
from constitutional.dialogue.prompts import PromptKind
from constitutional.engines.pool import Engines
from constitutional.evaluation.elo import elo_ratings
from constitutional.evaluation.judges import HELPFULNESS, Goal, judge, pairings
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair
from constitutional.runs.records import Answer, Comparison
from constitutional.stages.context import Context
from constitutional.stages.evaluation import zero_of

_PROMPTS: dict[Goal, PromptKind] = {"harmlessness": "red_team", "helpfulness": "helpful"}


@dataclass(frozen=True)
class Judgements:
    """An engine, by its name, says which of two answers is better by the constitution."""

    engine: str
    constitution: Constitution
    feedback: FeedbackConfig
    seed: int

    def __call__(self, block: Sequence[Comparison], engines: Engines) -> list[Comparison]:
        """The comparisons with labels."""
        judge = FeedbackModel(engines[self.engine], self.constitution, self.feedback, self.seed)
        return judge.label([Pair(c.id, c.prompt, c.a, c.b, c.tags) for c in block])


def judged_by_ai(
    context: Context, answers: Mapping[str, Sequence[Answer]]
) -> dict[str, Any] | None:
    """Elo of the final policies by an engine's verdicts, and an account of these verdicts.

    Harmlessness is judged by the constitution on red-team prompts, helpfulness by one principle of
    ours on helpful prompts. Snapshots are left out: each policy more is another comparison with
    every other on every prompt.
    """
    evaluation = context.recipe.evaluation
    model = context.inputs.ai_judge
    if evaluation is None or evaluation.ai_judge is None or model is None:
        return None
    final = {name: list(records) for name, records in answers.items() if "@" not in name}
    asked = FeedbackConfig(orders="both", few_shots=evaluation.ai_judge.few_shots)
    found: dict[str, Any] = {"model": context.engines[model.path].name, "elo": {}}
    for goal in evaluation.ai_judge.goals:
        kind = _PROMPTS[goal]
        constitution = context.constitution if goal == "harmlessness" else HELPFULNESS
        ids = {prompt.id for prompt in context.inputs.evaluation if prompt.kind == kind}
        work = Judgements(model.path, constitution, asked, context.recipe.seed)

        def ask(
            comparisons: Sequence[Comparison], goal: Goal = goal, work: Judgements = work
        ) -> Sequence[Comparison]:
            return list(
                context.records(
                    f"judged_{goal}",
                    made_from=context.made_from(
                        [asked], work.engine, constitution=work.constitution.fingerprint
                    ),
                    record_type=Comparison,
                    items=comparisons,
                    work=work,
                    title=f"AI judge of {goal}",
                )
            )

        mine = {name: [a for a in records if a.id in ids] for name, records in final.items()}
        judgement = judge(pairings(mine, goal), ask, margin=evaluation.ai_judge.margin)
        table = elo_ratings(judgement.matches, zero_of(final), seed=context.recipe.seed)
        found["elo"][goal] = {
            name: rating.model_dump(mode="json") for name, rating in table.ratings.items()
        }
        found[goal] = judgement.model_dump(mode="json", exclude={"matches"})
    return found
