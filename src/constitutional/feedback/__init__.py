"""AI feedback: pairs of answers, and how probably each is better by a principle. No torch."""

from constitutional.feedback.accounting import Accounting, Agreement, Ledger, account
from constitutional.feedback.label import FeedbackModel
from constitutional.feedback.pairs import Contrast, Pair, contrast, sample_pairs
from constitutional.feedback.question import (
    Question,
    parse_cot,
    parse_question,
    render_cot,
    render_question,
)
from constitutional.feedback.settings import FeedbackConfig, PairsConfig

__all__ = [
    "Accounting",
    "Agreement",
    "Contrast",
    "FeedbackConfig",
    "FeedbackModel",
    "Ledger",
    "Pair",
    "PairsConfig",
    "Question",
    "account",
    "contrast",
    "parse_cot",
    "parse_question",
    "render_cot",
    "render_question",
    "sample_pairs",
]
