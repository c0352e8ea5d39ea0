"""How the models of this wing refuse a value: one sentence, and where in the record it belongs."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

#: The error type that marks a sentence of our own among pydantic's.
REFUSED = "refused"


def refusal(sentence: str, *at: str | int) -> PydanticCustomError:
    """An error for a validator to raise; ``at`` leads from the validated record to the culprit.

    A validator of a whole record sees more than one key, and pydantic would place its error on the
    record. ``at`` lets a file reader point at the line of the key that is wrong.
    """
    # The sentence goes in as a value because pydantic would take braces in it for placeholders.
    return PydanticCustomError(REFUSED, "{sentence}", {"sentence": sentence, "at": at})
