"""What is said: conversations, their renderings, their tokens, and the prompts they begin with."""

from constitutional.dialogue.conversation import REQUESTING_ROLES, Conversation, Role, Turn
from constitutional.dialogue.prompts import (
    PromptKind,
    PromptRecord,
    PromptSet,
    load_prompts,
    prompt_id,
    splits_overlap,
)
from constitutional.dialogue.quoting import MARKERS
from constitutional.dialogue.rendering import chat_messages, prompt_for
from constitutional.dialogue.tokens import (
    TokenizedExample,
    continuation_ids,
    encode_example,
    prompt_ids,
)
from constitutional.dialogue.transcript import (
    STOP_STRINGS,
    few_shot_prefix,
    opening,
    parse,
    render,
)
from constitutional.dialogue.vocabulary import check_vocabulary, unknown_words

__all__ = [
    "MARKERS",
    "REQUESTING_ROLES",
    "STOP_STRINGS",
    "Conversation",
    "PromptKind",
    "PromptRecord",
    "PromptSet",
    "Role",
    "TokenizedExample",
    "Turn",
    "chat_messages",
    "check_vocabulary",
    "continuation_ids",
    "encode_example",
    "few_shot_prefix",
    "load_prompts",
    "opening",
    "parse",
    "prompt_for",
    "prompt_id",
    "prompt_ids",
    "render",
    "splits_overlap",
    "unknown_words",
]
