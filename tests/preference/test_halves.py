from __future__ import annotations

from collections.abc import Sequence

from preference_pairs import comparison

from constitutional.dialogue import Conversation
from constitutional.preference.halves import halves
from constitutional.runs.records import Comparison


def on(number: int, id_: str) -> Comparison:
    prompt = Conversation.of(f"Is {number} odd?")
    return comparison(number).model_copy(update={"id": id_, "prompt": prompt})


def ids(comparisons: Sequence[Comparison]) -> set[str]:
    return {c.id for c in comparisons}


def test_every_comparison_is_on_one_side_in_its_order() -> None:
    given = [on(n, str(n)) for n in range(400)]
    first, second = halves(given)
    assert sorted([*first, *second], key=given.index) == given
    assert first == sorted(first, key=given.index)
    # of 400 fair draws a side has fewer than 160 or more than 240 with a chance of 5e-5
    assert 160 <= len(first) <= 240


def test_a_conversation_is_on_one_side_whatever_is_said_of_it() -> None:
    given = [on(n, f"{n}/{k}") for n in range(40) for k in range(3)]
    given = [c.swap() if i % 2 else c.model_copy(update={"goal": "harmlessness"})
             for i, c in enumerate(given)]  # fmt: skip
    first, second = halves(given)
    assert not {c.prompt for c in first} & {c.prompt for c in second}
    assert len(first) % 3 == len(second) % 3 == 0


def test_others_move_nothing() -> None:
    given = [on(n, str(n)) for n in range(60)]
    first, _ = halves(given)
    again, _ = halves(given[::-1][:30])
    assert ids(again) == ids(first) & ids(given[30:])


def test_sides_stay_what_they_were() -> None:
    """A run that goes on after an update of this package must find the same halves."""
    first, _ = halves([on(n, str(n)) for n in range(12)])
    assert ids(first) == {"0", "1", "4", "6", "7", "8", "11"}
