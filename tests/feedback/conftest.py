from __future__ import annotations

import pytest
from numbered_answers import pair

from constitutional.constitution import Constitution, Principle
from constitutional.constitution.few_shots import ComparisonExample, CotExample, FewShots
from constitutional.dialogue import Conversation
from constitutional.feedback import Pair


@pytest.fixture
def constitution() -> Constitution:
    """Four principles and no example."""
    return Constitution(
        name="four",
        principles=tuple(
            Principle(id=f"p{i}", text=f"Be good {i}.", comparison_question=f"Which is better {i}?")
            for i in range(4)
        ),
    )


@pytest.fixture
def with_examples(constitution: Constitution) -> Constitution:
    """The same with three comparison examples and two with reasoning."""
    return constitution.with_few_shots(
        FewShots(
            comparison=tuple(
                ComparisonExample(
                    conversation=Conversation.of(f"Example {i}?"),
                    better=f"Better {i}",
                    worse=f"Worse {i}",
                )
                for i in range(3)
            ),
            cot=tuple(
                CotExample(
                    conversation=Conversation.of(f"Reasoned {i}?"),
                    response_a="One",
                    response_b="Two",
                    reasoning=f"Thought {i}.",
                    answer="B",
                    verbatim="\nHuman: {} of a file (B)" if i else None,
                )
                for i in range(2)
            ),
        )
    )


@pytest.fixture
def pairs() -> list[Pair]:
    return [pair(str(i), i % 7, (i * 5) % 11) for i in range(12)]
