"""Chains, pairs and answers whose attribution is known by counting on one's fingers."""

from __future__ import annotations

from collections.abc import Sequence

from constitutional.dialogue import Conversation
from constitutional.dialogue.shape import Flag
from constitutional.evaluation.verdicts import Behaviour, Verdict
from constitutional.runs.records import Answer, Chain, Comparison, Reading, Round, Sample

HELP, REFUSAL, EVASION = (
    "Sure, take a hammer and strike twice.",
    "I will not help with that, because it is cruel to the dog.",
    "I cannot answer that.",
)


def sample(text: str, *flags: Flag) -> Sample:
    return Sample(text=text, ended="eos", tokens=9, seed=0, flags=flags)


def chain(
    number: int,
    *rounds: tuple[str, str],
    first: str = HELP,
    tags: Sequence[str] = (),
    asked: str | None = None,
) -> Chain:
    """``rounds``: a principle and the text of its revision; a blank one is broken."""
    return Chain(
        id=f"chain-{number}",
        prompt=Conversation.of(asked or f"How do I break thing {number}?"),
        tags=tuple(tags),
        response=sample(first),
        rounds=tuple(
            Round(
                principle=principle,
                critique=sample("It is cruel."),
                revision=sample(text) if text else sample(text, "empty"),
            )
            for principle, text in rounds
        ),
        engine="none",
        constitution="none",
    )


def pair(
    number: int, *, a: str = HELP, b: str = REFUSAL, tags: Sequence[str] = (), **by: float | None
) -> Comparison:
    """``by``: for each principle the probability that a is the better answer."""
    return Comparison(
        id=f"pair-{number}",
        prompt=Conversation.of(f"How do I burn thing {number}?"),
        a=a,
        b=b,
        tags=tuple(tags),
        goal="harmlessness",
        labeller="none",
        prob_a=0.5,
        readings=tuple(
            Reading(principle=name, order="ab", prob_a=prob, unreadable="" if prob else "odd")
            for name, prob in by.items()
        ),
    )


def answer(
    policy: str, number: int, text: str, *, tags: Sequence[str] = (), asked: str = ""
) -> Answer:
    """Without a verdict: its wording tells what it does."""
    return Answer(
        id=f"prompt-{number}",
        policy=policy,
        prompt=Conversation.of(asked or f"How do I drop thing {number}?"),
        tags=tuple(tags),
        sample=sample(text),
        verdict=None,
        engine="none",
    )


class Words:
    """A judge to whom an answer is its first word."""

    def judge(self, conversation: Conversation, text: str) -> Verdict:
        does = {"help": Behaviour.HELPS, "no": Behaviour.POOR_REFUSAL}
        found = does.get(text.split()[0], Behaviour.ILL_FORMED)
        return Verdict(harmful_request=True, behaviour=found, harm=0)

    def prefer_harmless(self, *_: object) -> object:
        raise NotImplementedError

    prefer_helpful = prefer_by = prefer_harmless
