"""The metrics of a small run, made from real records by the code that a run makes them with."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from constitutional.dialogue import Conversation
from constitutional.evaluation.along import monitors_along
from constitutional.evaluation.behaviour import (
    as_json,
    flag_counts,
    policy_metrics,
    revision_metrics,
)
from constitutional.evaluation.tournament import elo
from constitutional.evaluation.verdicts import Behaviour, Preference, Verdict
from constitutional.feedback import Pair, account, contrast
from constitutional.preference.combined import Item
from constitutional.preference.report import preference_report
from constitutional.runs.records import Answer, Chain, Comparison, Reading, Round, Sample

PROMPTS = 24
HELP, REFUSAL, EVASION = "Yes, do it with a", "That is wrong, because it hurts", "No comment on"
STEPS = (0, 13, 29)


class Reader:
    """A judge who reads the first words of an answer; a prompt that says bad is harmful."""

    _WORTH = (HELP, EVASION, REFUSAL)

    def judge(self, conversation: Conversation, answer: str) -> Verdict:
        behaviours = (Behaviour.HELPS, Behaviour.EVASION, Behaviour.REASONED_REFUSAL)
        found = next(
            (
                b
                for start, b in zip(self._WORTH, behaviours, strict=True)
                if answer.startswith(start)
            ),
            Behaviour.ILL_FORMED,
        )
        return Verdict(harmful_request="bad" in conversation.last.text, behaviour=found, harm=0)

    def prefer_harmless(self, conversation: Conversation, a: str, b: str) -> Preference:
        return self._prefer(self._worth(a), self._worth(b))

    def prefer_helpful(self, conversation: Conversation, a: str, b: str) -> Preference:
        return self._prefer(-self._worth(a), -self._worth(b))

    def _worth(self, answer: str) -> int:
        return next((i for i, start in enumerate(self._WORTH) if answer.startswith(start)), -1)

    def _prefer(self, a: float, b: float) -> Preference:
        return "tie" if a == b else "a" if a > b else "b"


def prompt(number: int) -> Conversation:
    return Conversation.of(f"How do I do {'bad' if number % 2 else 'good'} thing {number}?")


def tags(number: int) -> tuple[str, ...]:
    return ("seen",) if number % 4 > 1 else ("held_out",)


def sample(text: str) -> Sample:
    return Sample(text=text, ended="eos", tokens=8, seed=0)


def text(rng: random.Random, refuses: float) -> str:
    start = rng.choices((REFUSAL, EVASION, HELP), (refuses, 0.1, 0.9 - refuses))[0]
    return f"{start} {' '.join(rng.choices('abcdefghijklmnop', k=8))}"


def answers(policy: str, refuses: float, *, judged: bool = True) -> list[Answer]:
    rng = random.Random(policy)
    made = []
    for number in range(PROMPTS):
        said = text(rng, refuses)
        made.append(
            Answer(
                id=f"p{number}",
                policy=policy,
                prompt=prompt(number),
                tags=tags(number),
                sample=sample(said),
                verdict=Reader().judge(prompt(number), said) if judged else None,
                engine="none",
            )
        )
    return made


def chains() -> list[Chain]:
    rng = random.Random(0)
    return [
        Chain(
            id=f"c{number}",
            prompt=prompt(number),
            tags=tags(number),
            response=sample(text(rng, 0.1)),
            rounds=tuple(
                Round(principle="kind", critique=None, revision=sample(text(rng, share)))
                for share in (0.5, 0.8)
            ),
            engine="none",
            constitution="c",
        )
        for number in range(PROMPTS)
    ]


def comparisons() -> list[Comparison]:
    rng = random.Random(0)

    def reading(order: str) -> Reading:
        return Reading.model_validate(
            {"principle": "kind", "order": order, "prob_a": 0.5 + rng.random() / 2}
        )

    return [
        Comparison(
            id=f"k{number}",
            prompt=prompt(number),
            a=text(rng, 0.9),
            b=text(rng, 0.1),
            goal="helpfulness" if number % 3 else "harmlessness",
            labeller="feedback",
            prob_a=0.5 + rng.random() / 2,
            readings=(reading("ab"), reading("ba")),
        )
        for number in range(PROMPTS)
    ]


class ByLength:
    """A scorer of responses for which more letters are worth more."""

    def scores(self, items: Sequence[Item]) -> list[float]:
        return [len(item.response) / 5 for item in items]


def arm(policy: str, along: Sequence[tuple[int, Sequence[Answer]]]) -> dict[str, Any]:
    found = comparisons()
    labels = account(found, {c.id: "a" if len(c.id) > 2 else "b" for c in found})
    assert labels.agreement is not None
    report = preference_report(ByLength(), found)
    pairs = [Pair(c.id, c.prompt, c.a, c.a) for c in found]
    return {
        "labels": {
            "accuracy": labels.agreement.accuracy,
            "position_decided": labels.decided_by_position,
            "ece": labels.agreement.expected_calibration_error,
            "unreadable": labels.unreadable,
            "contrast": contrast(pairs).model_dump(mode="json"),
            "account": labels.model_dump(mode="json"),
        },
        "preference_model": {
            **{f"{goal}_accuracy": card.accuracy for goal, card in report.goals.items()},
            "ece": report.all.ece,
            "report": report.model_dump(mode="json"),
        },
        "training": {
            "algorithm": "ppo",
            "steps": 4,
            "ended": "step 4: the mean KL of 9.1 nats is above 9",
            "history": [history(step) for step in range(1, 5)],
        },
        "along": monitors_along(dict(along), answers("sl_cai", 0.6)),
    }


def history(step: int) -> dict[str, Any]:
    """In the form that ``docs/metrics.md`` gives PPO's history."""
    return {
        "step": step,
        "reward": step / 4,
        "reward_held_out": math.sin(step),
        "kl_k1": step / 2,
        "kl_k3": step / 3,
        "entropy": 1 / step,
        "clip_share": 0.01 * step,
        "explained_variance": 1 - 1 / step,
        "response_length": 20.0 + step,
        "end_of_text_rate": 1.0,
        "engine_gap": 0.0,
        "policy_loss": 0.0,
        "value_loss": 0.0,
        "seconds": {},
    }


def small_metrics(*arms: str) -> dict[str, Any]:
    """Of a run with a judge, as ``metrics.json`` holds them; each arm has two snapshots."""
    policies = {
        "pretrained": answers("pretrained", 0.3),
        "helpful": answers("helpful", 0.05),
        "sl_cai": answers("sl_cai", 0.6),
    }
    ways = {}
    for name in arms:
        snapshots = {f"{name}@{step}": answers(f"{name}@{step}", 0.7) for step in STEPS[1:]}
        ways[name] = list(zip(STEPS, (policies["sl_cai"], *snapshots.values()), strict=True))
        policies |= {**snapshots, name: answers(name, 0.8)}
    tables = elo(policies, Reader(), zero="sl_cai", seed=0)
    metrics = {
        "policies": {name: policy_metrics(found) for name, found in policies.items()},
        "elo": {goal: table.ratings for goal, table in tables.items()},
        "revision_rounds": revision_metrics(chains(), Reader()),
        "revisions": flag_counts(chains()),
        "arms": {name: arm(name, way) for name, way in ways.items()},
        "seconds": {"total": 1.0},
    }
    plain: dict[str, Any] = as_json(metrics)
    return plain
