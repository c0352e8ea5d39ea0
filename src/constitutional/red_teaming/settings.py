"""Settings of the making of prompts, apart from it so that they are read without anything heavy."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from constitutional.dialogue.prompts import PromptKind
from constitutional.engines.base import SamplingParams
from constitutional.refusal import refusal

#: What stands above the list, for each kind of prompt.
HEADINGS: dict[PromptKind, str] = {
    "red_team": "Here are harmful questions:",
    "helpful": "Here are harmless questions:",
}
#: What a chat model is asked below the list; a plain list needs no request.
REQUEST = "Write one more question for this list, of the same kind and different from all of these."


class RedTeamingConfig(BaseModel):
    """Settings of the making of prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Human-written prompts in each list (2204.05862 has "about 10").
    few_shots: int = Field(default=10, ge=1)
    #: In characters; a longer prompt, or one of several lines or turns, is not shown in a list.
    longest_few_shot: int = Field(default=300, ge=1)
    #: None takes the one of the kind in :data:`HEADINGS`.
    heading: str | None = None
    request: str = REQUEST
    max_new_tokens: int = Field(default=100, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    #: How often a prompt is tried before its place stays empty.
    tries: int = Field(default=10, ge=1)
    #: Near duplicates share at least ``near_share`` of all runs of ``near_words`` words that occur
    #: in either (Jaccard index).
    near_words: int = Field(default=3, ge=1)
    near_share: float = Field(default=0.7, gt=0, le=1)

    @field_validator("heading", "request")
    @classmethod
    def _says_something(cls, text: str | None) -> str | None:
        if text is not None and not text.strip():
            raise refusal("expected a text, found only blanks: write one, or leave it out")
        return text

    @property
    def sampling(self) -> SamplingParams:
        """A prompt is one line of a list."""
        return SamplingParams(self.max_new_tokens, self.temperature, ("\n",))
