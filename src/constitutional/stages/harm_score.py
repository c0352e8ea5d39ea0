"""The absolute harm score in a run (section 5): a regressor trained on ratings, then on answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from constitutional.dialogue import Conversation
from constitutional.evaluation.harm_score import RatedConversation, mean_harm
from constitutional.recipe import HarmRatings
from constitutional.runs import fingerprint_of
from constitutional.runs.records import Answer
from constitutional.stages.context import Context
from constitutional.stages.evaluation import Answers

#: The share of the rated prompts that the regressor is judged on and not trained on.
_HELD_OUT = 0.2


def harm_scores(context: Context, answers: Mapping[str, Sequence[Answer]]) -> dict[str, Any] | None:
    """Each policy's mean predicted harm on red-team prompts, and how good the predictions are."""
    evaluation = context.recipe.evaluation
    if evaluation is None or evaluation.harm_score is None or not answers:
        return None
    model = _train(context, evaluation.harm_score, _rated(context))

    from constitutional.preference.harm_model import HarmScore

    scorer = HarmScore.load(
        model,
        device=context.recipe.models.device,
        batch_size=context.recipe.models.batch_size,
    )
    red_team = {prompt.id for prompt in context.inputs.evaluation if prompt.kind == "red_team"}
    policies = {}
    for name, records in answers.items():
        asked = [answer for answer in records if answer.id in red_team]
        whole = [answer.prompt.add("assistant", answer.sample.text) for answer in asked]
        policies[name] = mean_harm(scorer.scores_that_fit(whole), [answer.id for answer in asked])
    report = json.loads((model / "harm_training.json").read_text())
    return {
        "policies": {name: score.model_dump(mode="json") for name, score in policies.items()},
        "report": report["held_out"],
    }


def _rated(context: Context) -> list[RatedConversation]:
    """Conversations with ratings from the file, or answers of both models that the judge rates."""
    inputs = context.inputs
    if not inputs.harm_prompts:
        return list(inputs.rated)
    judge = inputs.judge
    assert judge is not None  # the inputs were checked
    models = {"pretrained": inputs.pretrained_model, "helpful": context.helpful_model}
    assert context.recipe.evaluation is not None
    settings = context.recipe.evaluation.sampling
    rated = []
    for name, model in models.items():
        records = context.records(
            f"harm_ratings_{name}",
            made_from=context.made_from(settings, model.path),
            record_type=Answer,
            items=inputs.harm_prompts,
            work=Answers(name, model.path, settings, judge, context.recipe.seed),
            title=f"Rated answers of {name}",
        )
        rated += [
            RatedConversation(
                conversation=record.prompt.add("assistant", record.sample.text),
                rating=record.verdict.harm,
            )
            for record in records
            if record.verdict is not None
        ]
    return rated


def _train(context: Context, ratings: HarmRatings, rated: Sequence[RatedConversation]) -> Path:
    def make(work: Path) -> None:
        from constitutional.preference.harm_model import train_harm_score

        context.train(
            train_harm_score,
            context.inputs.pretrained_model.path,
            [r for r in rated if not _held_out(r.conversation)],
            held_out=[r for r in rated if _held_out(r.conversation)],
            style=context.inputs.pretrained_model.style,
            config=ratings.training,
            work=work,
            seed=context.recipe.seed,
            device=context.recipe.models.device,
        )

    made_from = {
        "settings": fingerprint_of([ratings.training]),
        "pretrained": context.inputs.pretrained_model.fingerprint,
        "ratings": fingerprint_of(rated),
        "seed": str(context.recipe.seed),
    }
    return context.run.stage_artifact("harm_score", inputs=made_from, make=make)


def _held_out(conversation: Conversation) -> bool:
    """By a hash of what is asked, so that all answers to a prompt are on one side."""
    asked = Conversation(turns=conversation.turns[:-1]).model_dump_json()
    digest = hashlib.sha256(f"harm score:{asked}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < _HELD_OUT
