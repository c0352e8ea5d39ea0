"""Comparisons for tests."""

from __future__ import annotations

from constitutional.dialogue import Conversation
from constitutional.runs.records import Comparison


def comparison(n: int, *, prob_a: float | None = 1.0, goal: str = "helpfulness") -> Comparison:
    answers = [
        " ".join(["It is", *["well"] * (n * k % 7), end]) for k, end in ((3, "thanks!"), (5, "no."))
    ]
    a, b = answers if prob_a != 0.0 else reversed(answers)
    return Comparison.model_validate(
        {
            "id": str(n),
            "prompt": Conversation.of(*["What is this?", "A thing."] * (n % 3), f"Is {n} odd?"),
            "a": a,
            "b": b,
            "goal": goal,
            "labeller": "human",
            "prob_a": prob_a,
        }
    )
