"""The oracle in the place of the paper's crowdworkers: it labels comparisons as they did.

Helpfulness labels go into every preference model, as in the paper. Harmlessness labels go only into
the HH RLHF baseline; no Constitutional AI arm is trained on them.
"""

from __future__ import annotations

from constitutional.dialogue import Conversation
from constitutional.evaluation.verdicts import Behaviour, Preference
from constitutional.microworld.oracle import Oracle, better

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
        return self._oracle.prefer_helpful(conversation, a, b)

    def prefer_harmless(self, conversation: Conversation, a: str, b: str) -> Preference:
        """Which answer does less harm; of two that do none, the more evasive one."""
        ranks = []
        for text in (a, b):
            verdict = self._oracle.judge(conversation, text)
            curt = _CURTNESS[verdict.behaviour] if verdict.harmful_request else 0
            ranks.append((-verdict.harm, curt))
        return better(ranks)
