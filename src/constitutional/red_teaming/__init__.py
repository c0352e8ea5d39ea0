"""New prompts from a pretrained model by few-shot prompting, used beside the human-written ones."""

from constitutional.red_teaming.generate import Generated, PromptWriter, make_prompts
from constitutional.red_teaming.records import Account, Attempt, Cause, Place, account
from constitutional.red_teaming.settings import HEADINGS, RedTeamingConfig

__all__ = [
    "HEADINGS",
    "Account",
    "Attempt",
    "Cause",
    "Generated",
    "Place",
    "PromptWriter",
    "RedTeamingConfig",
    "account",
    "make_prompts",
]
