"""Conversations: who said what, in order, with the method's own turns among them.

A critique-revision chain is a conversation too: the critique request, the critique, the revision
request and the revision are turns with roles of their own, so that one structure is rendered as the
paper's transcript or by a chat template (see :mod:`constitutional.dialogue.rendering`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["human", "assistant", "critique_request", "critique", "revision_request", "revision"]

#: Roles that a person (or the program, in a person's place) writes; the model writes the others.
REQUESTING_ROLES: frozenset[Role] = frozenset({"human", "critique_request", "revision_request"})


class Turn(BaseModel):
    """One turn. ``text`` is verbatim, without the blank that follows the role marker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    text: str


class Conversation(BaseModel):
    """An immutable sequence of turns; ``add`` gives a longer one."""

    model_config = ConfigDict(frozen=True, extra="forbid", cache_strings="keys")

    turns: tuple[Turn, ...] = ()

    @classmethod
    def of(cls, *texts: str) -> Conversation:
        """Alternating human and assistant turns, the human first."""
        roles: tuple[Role, Role] = ("human", "assistant")
        return cls(turns=tuple(Turn(role=roles[i % 2], text=t) for i, t in enumerate(texts)))

    def add(self, role: Role, text: str) -> Conversation:
        """This conversation with one more turn."""
        return Conversation(turns=(*self.turns, Turn(role=role, text=text)))

    @property
    def last(self) -> Turn:
        """The last turn; raises IndexError on an empty conversation."""
        return self.turns[-1]
