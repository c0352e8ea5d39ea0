"""Which principles made a policy behave as it does, from the records of one run.

Principles are drawn by lot, for every round of revision and every comparison: each run is an
experiment on its own constitution. What a principle did not touch shows what there would be without
it (:mod:`.contrast`).
"""

from constitutional.instrument.attribution.behaviours import BehaviourReader, Deed
from constitutional.instrument.attribution.change import attribute
from constitutional.instrument.attribution.nearest import attribute_answer
from constitutional.instrument.attribution.records import (
    AnswerAttribution,
    Attribution,
    LabelPush,
    Neighbour,
    PrinciplePush,
    RevisionPush,
)

__all__ = [
    "AnswerAttribution",
    "Attribution",
    "BehaviourReader",
    "Deed",
    "LabelPush",
    "Neighbour",
    "PrinciplePush",
    "RevisionPush",
    "attribute",
    "attribute_answer",
]
