"""Word-level differences between two versions of a text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from constitutional.reading.differences import Piece, differences

# few words, so that texts have much in common
TEXTS = st.lists(
    st.sampled_from(["the", "letter", "is", "not", "yours", ".", ",", "\n", "  ", "don't", "é"]),
    max_size=30,
).map(" ".join)


@settings(deadline=None)
@given(TEXTS | st.text(max_size=40), TEXTS | st.text(max_size=40))
def test_both_versions_are_whole(old: str, new: str) -> None:
    pieces = differences(old, new)
    assert "".join(p.text for p in pieces if p.kind != "added") == old
    assert "".join(p.text for p in pieces if p.kind != "removed") == new
    assert all(piece.text for piece in pieces)


def test_a_word_is_changed_as_a_whole() -> None:
    found = differences("You can read the letter now.", "You can open the letter now.")
    assert found == [
        Piece("same", "You can "),
        Piece("removed", "read"),
        Piece("added", "open"),
        Piece("same", " the letter now."),
    ]


def test_an_apostrophe_is_part_of_its_word() -> None:
    found = differences("I won't do it for you.", "I will do it for you.")
    assert found[1:3] == [Piece("removed", "won't"), Piece("added", "will")]


def test_a_single_word_between_changes_is_part_of_them() -> None:
    found = differences("a b c d e f g h i", "a b x d y f g h i")
    assert found == [
        Piece("same", "a b "),
        Piece("removed", "c d e"),
        Piece("added", "x d y"),
        Piece("same", " f g h i"),
    ]


def test_a_text_with_little_in_common_was_written_anew() -> None:
    old, new = "Sure, get the glass and read it.", "I will not help with that, because of the law."
    assert differences(old, new) == [Piece("removed", old), Piece("added", new)]


def test_nothing_changed_and_nothing_there() -> None:
    assert differences("same text", "same text") == [Piece("same", "same text")]
    assert differences("", "") == []
    assert differences("", "new") == [Piece("added", "new")]
    assert differences("old", "") == [Piece("removed", "old")]


def test_texts_that_go_in_circles_are_compared_too() -> None:
    """Cubic in difflib: these would take it minutes."""
    old, new = "the a " * 3000, "the b " * 3000
    pieces = differences(old, new)
    assert "".join(p.text for p in pieces if p.kind != "added") == old
