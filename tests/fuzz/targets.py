"""All targets, by name."""

from __future__ import annotations

from functools import cache

from tests.fuzz.pages import page_targets
from tests.fuzz.readers import reader_targets
from tests.fuzz.trying import Target
from tests.fuzz.words import word_targets


@cache
def all_targets() -> tuple[Target, ...]:
    """In the order in which they are tried."""
    return (*word_targets(), *reader_targets(), *page_targets())


def target_named(name: str) -> Target:
    """The one of this name."""
    return next(target for target in all_targets() if target.name == name)
