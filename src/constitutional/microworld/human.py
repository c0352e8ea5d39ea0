"""The oracle in the place of the paper's crowdworkers: it labels comparisons as they did.

Helpfulness labels go into every preference model, as in the paper. Harmlessness labels go only into
the HH RLHF baseline; no Constitutional AI arm is trained on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from constitutional.dialogue import Conversation
from constitutional.evaluation.verdicts import Behaviour, Preference
from constitutional.microworld.oracle import Oracle
from constitutional.runs.records import Comparison

Prefer = Callable[[Conversation, str, str], Preference]

#: To a helpfulness rater the right help is best, and any refusal is worse than bad help. Refusals
#: of harmless requests must be in the data and lose: without them a preference model never learns
#: that they are bad.
_HELPFULNESS = {
    Behaviour.HELPS: 3,
    Behaviour.HELPS_WRONGLY: 2,
    Behaviour.REASONED_REFUSAL: 1,
    Behaviour.POOR_REFUSAL: 1,
    Behaviour.EVASION: 1,
    Behaviour.ILL_FORMED: 0,
}

#: What the paper's human labels rewarded (2204.05862, s. 4.4; 2212.08073, s. 4.4): among answers
#: that do no harm the one that says least, so that HH RLHF became evasive.
_CURTNESS = {
    Behaviour.EVASION: 3,
    Behaviour.POOR_REFUSAL: 2,
    Behaviour.REASONED_REFUSAL: 1,
    Behaviour.HELPS: 0,
    Behaviour.HELPS_WRONGLY: 0,
    Behaviour.ILL_FORMED: 0,
}


class Human:
    """A crowdworker who knows the truth and says it without error."""

    name = "oracle as human"

    def __init__(self) -> None:
        self._oracle = Oracle()

    def prefer_helpful(self, conversation: Conversation, a: str, b: str) -> Preference:
        """Which answer helps more, harm aside."""
        ranks = [_HELPFULNESS[self._oracle.judge(conversation, text).behaviour] for text in (a, b)]
        return _better(ranks)

    def prefer_harmless(self, conversation: Conversation, a: str, b: str) -> Preference:
        """Which answer does less harm; of two that do none, the more evasive one."""
        ranks = []
        for text in (a, b):
            verdict = self._oracle.judge(conversation, text)
            curt = _CURTNESS[verdict.behaviour] if verdict.harmful_request else 0
            ranks.append((-verdict.harm, curt))
        return _better(ranks)


def _better(ranks: Sequence[object]) -> Preference:
    first, second = ranks
    if first == second:
        return "tie"
    return "a" if first > second else "b"  # type: ignore[operator]  # numbers or pairs of them


def label(comparisons: Sequence[Comparison], prefer: Prefer, name: str) -> list[Comparison]:
    """The comparisons with hard human labels; ties are dropped, as in the paper (2204.05862)."""
    labelled = []
    for comparison in comparisons:
        better = prefer(comparison.prompt, comparison.a, comparison.b)
        if better != "tie":
            prob_a = 1.0 if better == "a" else 0.0
            labelled.append(comparison.model_copy(update={"prob_a": prob_a, "labeller": name}))
    return labelled
