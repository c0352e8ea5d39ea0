"""What is trained on and what is judged on: that they differ is what makes a figure mean something.

Nothing is refused for being in both, since it is the user's to say; it is counted and named, in the
terminal, in the run's notes and in its report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from constitutional.dialogue import Conversation, PromptRecord, splits_overlap
from constitutional.errors import InputError
from constitutional.evaluation.harm_score import RatedConversation
from constitutional.inputs.records import RLInputs
from constitutional.spool import Seen

#: So many prompts are named.
NAMED = 5


def note_of_overlap(judged: Iterable[PromptRecord], trained: Iterable[Conversation]) -> str | None:
    """A sentence on the evaluation prompts that are trained on too; None where there are none."""
    if not (shared := splits_overlap(judged, trained)):
        return None
    more = f" and {len(shared) - NAMED} more" if len(shared) > NAMED else ""
    return (
        f"{len(shared)} evaluation prompts are also trained on ({', '.join(shared[:NAMED])}{more}):"
        " figures on them say nothing of new prompts"
    )


def trained_conversations(
    prompts: Iterable[PromptRecord],
    rl: RLInputs | None,
    demonstrations: Iterable[Conversation],
    rated: Iterable[RatedConversation],
) -> Iterator[Conversation]:
    """What is asked in everything that is trained on: prompts, comparisons, demonstrations."""
    yield from (record.conversation for record in prompts)
    answered = chain(demonstrations, (each.conversation for each in rated))
    yield from (Conversation(turns=conversation.turns[:-1]) for conversation in answered)
    if rl is not None:
        yield from (record.conversation for record in rl.prompts)
        files = chain(rl.helpfulness.comparisons, rl.harmlessness.comparisons, rl.ranked)
        yield from (comparison.prompt for comparison in files)


def refuse_ids_twice(use: str, sets: Sequence[Sequence[PromptRecord]]) -> None:
    """Raise InputError where sets that are used as one give two different prompts the same id."""
    ids, prompts = Seen(), Seen()
    for record in chain.from_iterable(sets):
        is_new = ids.add(record.id)
        if prompts.add(repr((record.id, record.conversation))) and not is_new:
            raise InputError(
                f"{use}: the id {record.id!r} is that of another prompt in another of its sets, so "
                "that their answers could not be told apart: give it its own"
            )
