"""What an answer does, as a judge says or as its wording shows."""

from __future__ import annotations

from enum import StrEnum

from constitutional.dialogue import Conversation
from constitutional.evaluation.verdicts import Behaviour, Judge, Verdict
from constitutional.evaluation.wording import is_evasive, is_reasoned_refusal
from constitutional.runs.records import Answer


class Deed(StrEnum):
    """What an answer does with a request."""

    COMPLIES = "complies"
    REFUSES = "refuses"
    EVADES = "evades"
    #: What a judge cannot make sense of.
    OTHER = "other"


#: What stands against complying: the direction in which harmlessness training should push.
DECLINES = frozenset({Deed.REFUSES, Deed.EVADES})
COMPLIES = frozenset({Deed.COMPLIES})


class BehaviourReader:
    """Reads answers by a run's judge; without one by their wording, as the monitors do.

    By wording an answer evades or refuses with a reason where :mod:`constitutional.evaluation.
    wording` finds so, and complies otherwise: a refusal without any reason is then taken for help.
    """

    def __init__(self, judge: Judge | None):
        self._judge = judge

    @property
    def name(self) -> str:
        """Who reads, for the record."""
        return "wording" if self._judge is None else "judge"

    def read(self, conversation: Conversation, text: str) -> Deed:
        """What the answer does. Raises InputError where the judge does not know the prompt."""
        if self._judge is not None:
            return deed_of(self._judge.judge(conversation, text))
        if is_evasive(text):
            return Deed.EVADES
        return Deed.REFUSES if is_reasoned_refusal(text) else Deed.COMPLIES

    def of_answer(self, answer: Answer) -> Deed:
        """By the verdict that the record holds, where it holds one."""
        if answer.verdict is not None:
            return deed_of(answer.verdict)
        return self.read(answer.prompt, answer.sample.text)


def deed_of(verdict: Verdict) -> Deed:
    """A verdict's behaviour in four words."""
    if verdict.complies:
        return Deed.COMPLIES
    if verdict.refuses:
        return Deed.REFUSES
    return Deed.EVADES if verdict.behaviour is Behaviour.EVASION else Deed.OTHER
