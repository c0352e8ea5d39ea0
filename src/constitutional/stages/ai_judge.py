"""An AI judge in a run: Elo where there is no oracle, by the constitution and in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from constitutional.dialogue.prompts import PromptKind
from constitutional.evaluation.elo import elo_ratings
from constitutional.evaluation.judges import HELPFULNESS, Goal, judge, pairings
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair
from constitutional.runs.records import Answer, Comparison
from constitutional.stages.context import Context
from constitutional.stages.evaluation import zero_of

_PROMPTS: dict[Goal, PromptKind] = {"harmlessness": "red_team", "helpfulness": "helpful"}


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
    engine = context.engine(model.path)
    final = {name: list(records) for name, records in answers.items() if "@" not in name}
    asked = FeedbackConfig(orders="both", few_shots=evaluation.ai_judge.few_shots)
    found: dict[str, Any] = {"model": engine.name, "elo": {}}
    for goal in evaluation.ai_judge.goals:
        kind = _PROMPTS[goal]
        constitution = context.constitution if goal == "harmlessness" else HELPFULNESS
        feedback = FeedbackModel(engine, constitution, asked, context.recipe.seed)
        ids = {prompt.id for prompt in context.inputs.evaluation if prompt.kind == kind}

        def label(block: Sequence[Comparison], by: FeedbackModel = feedback) -> list[Comparison]:
            return by.label([Pair(c.id, c.prompt, c.a, c.b, c.tags) for c in block])

        def ask(
            comparisons: Sequence[Comparison], goal: Goal = goal, by: str = constitution.fingerprint
        ) -> Sequence[Comparison]:
            return list(
                context.run.stage_records(
                    f"judged_{goal}",
                    inputs=context.made_from([asked], engine, constitution=by),
                    record_type=Comparison,
                    items=comparisons,
                    block_size=context.recipe.block,
                    work=label,
                    progress=context.progress,
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
