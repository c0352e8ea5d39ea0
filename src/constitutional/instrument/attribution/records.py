"""What an attribution says, as typed records. Intervals are clustered by prompt, n counts them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from constitutional.evaluation.intervals import Estimate
from constitutional.instrument.attribution.behaviours import Deed


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RevisionPush(_Record):
    """The revisions by one principle.

    ``revisions`` is how many it made that can be read, ``unusable`` how many have a broken shape;
    ``changed`` the share that are not the text they were made from. ``turned`` of the ``could``
    answers without the behaviour have it afterwards (``towards``), ``lost`` of the ``had`` with it
    have it no more (``away``). ``push``: see :mod:`.contrast`; ``unknown`` are the examples that it
    does not speak of.
    """

    revisions: int
    unusable: int
    changed: Estimate | None
    could: int
    turned: int
    towards: Estimate | None
    had: int
    lost: int
    away: Estimate | None
    push: Estimate | None
    unknown: int
    #: Ids of the first chains that it turned.
    examples: tuple[str, ...] = ()


class LabelPush(_Record):
    """The labels by one principle, of the pairs of which one answer alone has the behaviour.

    ``unread`` of these ``pairs`` have no readable label by it. ``preferred``: the share of the
    others in which it prefers that answer (a half is no preference). ``margin``: the mean of the
    probability it gives that answer less one half; ``telling`` the mean distance from one half. So
    margin / telling is the preference weighted by how telling each label is, from -1 to 1.
    ``push`` and ``unknown`` as for revisions.
    """

    pairs: int
    unread: int
    preferred: Estimate | None
    margin: Estimate | None
    telling: Estimate | None
    push: Estimate | None
    unknown: int


class PrinciplePush(_Record):
    """One principle. ``score`` is the sum of its pushes; None where one of them is not known."""

    principle: str
    revisions: RevisionPush | None
    labels: LabelPush | None
    score: Estimate | None


class Attribution(_Record):
    """Which principles pushed ``policy`` away from what ``against`` does.

    ``behaviour`` is the direction of the change that was ``observed`` on evaluation prompts: the
    share of answers with it, ``policy`` less ``against``; on ``differ`` of ``observed.n`` prompts
    the two do not agree. ``read_by``: judge or wording. ``stages``: what stands between the two
    policies. Principles are in the order of their scores.
    """

    policy: str
    against: str
    kinds: tuple[str, ...]
    read_by: str
    behaviour: tuple[Deed, ...]
    observed: Estimate
    differ: int
    stages: tuple[Literal["revisions", "labels"], ...]
    #: What was counted: chains, and labelled pairs of which one answer alone has the behaviour.
    chains: int
    pairs: int
    principles: tuple[PrinciplePush, ...]


class Neighbour(_Record):
    """A training example near an answer's prompt, and the principle that made it.

    Of a revision: the one whose round brought the behaviour, or the first round's where the answer
    had it from the start. Of a comparison: one for each principle that labelled it, with its
    ``margin`` for the answer with the behaviour.
    """

    made: Literal["revision", "label"]
    id: str
    prompt: str
    likeness: float
    principle: str
    #: Whether a revision brought the behaviour, or a label prefers it.
    pushed: bool
    #: Whether the last usable revision has the behaviour; None for labels.
    shows: bool | None = None
    margin: float | None = None


class Nearby(_Record):
    """A principle among the neighbours: how many of them are by it, and how many pushed."""

    principle: str
    revisions: int
    turned: int
    labels: int
    preferred: int
    #: The sum of the likenesses of those that pushed.
    weight: float


class AnswerAttribution(_Record):
    """One answer, the training examples most like its prompt, and whose they are."""

    id: str
    policy: str
    prompt: str
    answer: str
    read_by: str
    behaviour: Deed
    neighbours: tuple[Neighbour, ...]
    principles: tuple[Nearby, ...]
