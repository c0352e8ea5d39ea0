from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constitutional.constitution import (
    Constitution,
    Principle,
    default_constitution,
    load_constitution,
    save_constitution,
)
from constitutional.constitution.few_shots import ComparisonExample, CotExample, FewShots
from constitutional.constitution.files import MAX_BYTES, dump_constitution, read_few_shots
from constitutional.dialogue.conversation import Conversation, Turn
from constitutional.errors import ConstitutionFileError

GOOD = """\
name: mine
principles:
  - id: a
    text: Be kind.
"""

# What a user may write, the line of the fault (None: no line is known), and what the message says.
BAD: dict[str, tuple[str, int | None, str]] = {
    "tab": ("name: x\nprinciples:\n\t- id: a\n", 3, "a tab in the indentation"),
    "tab deeper": (GOOD + "  \ttags: [x]\n", 5, "a tab in the indentation"),
    "unknown top key": (GOOD + "principels: []\n", 5, "did you mean 'principles'?"),
    "only a misspelt top key": (
        "principels:\n  - id: a\n    text: b\n",
        1,
        "unknown key 'principels' in a constitution; did you mean 'principles'?",
    ),
    "unknown key in a principle": (
        "principles:\n  - id: a\n    texts: Be kind.\n",
        3,
        "unknown key 'texts' in a principle; did you mean 'text'?",
    ),
    "key like no other": (GOOD + "    zzz: 1\n", 5, "known: id, text, source"),
    "key twice": (GOOD + "    text: Again.\n", 5, "the key 'text' is given twice"),
    "top key twice": (GOOD + "name: again\n", 5, "the key 'name' is given twice"),
    "id twice": (GOOD + "  - text: b\n    id: a\n", 6, "the id 'a' is given to two principles"),
    "empty": ("", None, "the file is empty"),
    "blank": (" \n\n", None, "the file is empty"),
    "only comments": ("# a\n\n# b\n", None, "every line is blank or a comment"),
    "no principles key": ("name: x\n", 1, "a constitution needs the key 'principles'"),
    "no principles": ("name: x\nprinciples: []\n", 2, "at least one principle"),
    "missing half": (
        GOOD + "    critique_request: Find faults.\n",
        5,
        "principle 'a' has a critique_request but no revision_request: give both or neither",
    ),
    "other half": (GOOD + "    revision_request: Mend.\n", 5, "but no critique_request"),
    "missing text": ("principles:\n  - id: a\n  - id: b\n", 2, "a principle needs the key 'text'"),
    "empty text": ("principles:\n  - id: a\n    text:\n", 3, "'text' must be text, found nothing"),
    "blank text": ("principles:\n  - id: a\n    text: ' '\n", 3, "found only blanks"),
    "number for text": (
        "principles:\n  - id: a\n    text: 5\n",
        3,
        "'text' must be text, found the number 5; put it in quotes",
    ),
    "yes for id": ("principles:\n  - text: a\n    id: no\n", 3, "put it in quotes"),
    "date for source": (GOOD + "    source: 2022-12-15\n", 5, "found a date; put it in quotes"),
    "zero weight": (GOOD + "    weight: 0\n", 5, "'weight' must be a number above 0, found the"),
    "negative weight": (GOOD + "    weight: -1.5\n", 5, "a number above 0, found the number -1.5"),
    "endless weight": (GOOD + "    weight: .inf\n", 5, "must be a number"),
    "nan weight": (GOOD + "    weight: .nan\n", 5, "must be a number"),
    "word for weight": (GOOD + "    weight: much\n", 5, "a number, found 'much'"),
    "yes for weight": (GOOD + "    weight: yes\n", 5, "found a yes-or-no value"),
    "text for tags": (GOOD + "    tags: privacy\n", 5, "'tags' must be a list, found 'privacy'"),
    "unknown use": (
        GOOD + "    uses: [critic]\n",
        5,
        "must be 'critique' or 'comparison', found 'critic'; did you mean 'critique'?",
    ),
    "text for a principle": (
        "principles:\n  - Be kind.\n",
        2,
        "expected a principle, with keys such as id, text, source, found 'Be kind.'",
    ),
    "mapping for principles": ("principles:\n  a: b\n", 1, "must be a list, found a mapping"),
    "a list of records": ("- id: a\n  text: b\n", 1, "the keys name and principles, found a list"),
    "unclosed quote": ('name: "x\nprinciples: []\n', 3, "this is not valid YAML"),
    "colon in a text": ("principles:\n  - id: a\n    text: one: two\n", 3, "needs quotes"),
    "control character": (GOOD.replace("kind", "k\x07ind"), 4, "control character"),
    "alias": ("name: x\nprinciples: &p\n  - *p\n", 2, "anchors (&) and aliases (*)"),
    "alias in a text": (GOOD + "    source: *why\n", 5, "anchors (&) and aliases (*)"),
    "tag": ("principles:\n  - !!python/name:os.system\n", 2, "tags such as"),
    "bang in a text": (GOOD + "    source: !own\n", 5, "quote text that begins with !"),
    "two documents": (GOOD + "---\nname: y\n", 5, "found a second after '---'"),
    "deep": ("name: " + "[" * 5000, 1, "nested more than 16 levels deep"),
    "misspelt role": (
        GOOD + "few_shots:\n  comparison:\n    - better: x\n      worse: y\n"
        "      conversation:\n        - humn: hello\n",
        10,
        "did you mean 'human'?",
    ),
    "text for a conversation": (
        GOOD + "few_shots:\n  critique_revision:\n    - hello\n",
        7,
        "a list of turns such as '- human: text'",
    ),
    "two roles in a turn": (
        GOOD + "few_shots:\n  critique_revision:\n    - - human: a\n        assistant: b\n",
        7,
        "a turn is one role and its text",
    ),
    "half a chain": (
        GOOD + "few_shots:\n  critique_revision:\n    - - human: a\n      - assistant: b\n",
        7,
        "then critique_request, critique, revision_request, revision",
    ),
    "unknown key in few_shots": (GOOD + "few_shots:\n  comparisons: []\n", 6, "'comparison'?"),
    "JSON syntax": ('[\n"a",\n}\n', 3, "this is not valid JSON"),
    "JSON lines": ('{"prompt": "a"}\n{"prompt": "b"}\n', 2, "this is not valid JSON"),
    "JSON key twice": ('{"a": 1, "a": 2}', None, "the key 'a' is given twice"),
    "JSON of no format": ('{"a": 1}', None, "in no known constitution format"),
    "JSON too deep": ("[" * 100_000, None, "nested too deeply"),
    "native JSON": ('{"name": "x",\n "principles": [{"id": "a"}]}', 2, "needs the key 'text'"),
}


def message(path: Path) -> str:
    with pytest.raises(ConstitutionFileError) as caught:
        load_constitution(path)
    return str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    text, line, sentence = BAD[name]
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode())
    found = message(path)
    where = f"{path}: " if line is None else f"{path}, line {line}: "
    assert found.startswith(where), found
    assert sentence in found
    assert "\n" not in found


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"ok\n\x89PNG\r\n\x00\x00")
    assert f"{path}, line 3: expected text in UTF-8, found binary data" == message(path)
    path.write_bytes("name: x\nprinciples: café\n".encode("latin-1"))
    assert f"{path}, line 2: expected text in UTF-8, found other bytes" == message(path)
    path.write_bytes(b"a" * (MAX_BYTES + 1))
    assert "larger than 2 MiB" in message(path)
    assert message(tmp_path) == f"{tmp_path}: expected a file, found a folder"
    missing = tmp_path / "none.yaml"
    assert message(missing) == f"{missing}: there is no such file"


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path = tmp_path / "bomb.yaml"
    path.write_text("name: x\n" + "\n".join(lines))
    assert "line 2: anchors (&)" in message(path)


def test_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"  # the content decides, not the name
    path.write_bytes(
        "\ufeff# mine\r\n\r\nBe kind: always.\r\n  - Tell the truth. # not a note\r\n".encode()
    )
    c = load_constitution(path)
    assert c.name == "rules"
    assert [(p.id, p.text) for p in c.principles] == [
        ("p1", "Be kind: always."),
        ("p2", "Tell the truth. # not a note"),
    ]


def test_formats_are_told_apart_by_content(tmp_path: Path) -> None:
    texts = {
        "a.txt": GOOD,
        "b.yaml": "Be kind.\n",
        "c.md": json.dumps({"principles": [{"id": "p1", "text": "Be kind."}]}),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert load_constitution(tmp_path / name).principles[0].text == "Be kind."


def test_the_fingerprint_is_the_same_in_every_format(tmp_path: Path) -> None:
    plain = tmp_path / "a.txt"
    plain.write_text("Be kind.\n")
    spaced = tmp_path / "b.yaml"
    spaced.write_text("# c\nprinciples:   [{text:   'Be kind.', id: p1,\n  weight: 1}]\nname: z\n")
    assert load_constitution(plain).fingerprint == load_constitution(spaced).fingerprint


def test_plain_text_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Be kind.\nBe honest.\n")
    c = load_constitution(path)
    save_constitution(c, tmp_path / "b.txt", "text")
    assert (tmp_path / "b.txt").read_text() == "Be kind.\nBe honest.\n"


@pytest.mark.parametrize("text", ["two\nlines", "# comment", "- bullet", " blank", "[a", "name: x"])
def test_plain_text_refuses_what_would_not_come_back(tmp_path: Path, text: str) -> None:
    c = Constitution(name="x", principles=(Principle(id="a", text=text),))
    with pytest.raises(ConstitutionFileError, match="principle 1 cannot be written"):
        save_constitution(c, tmp_path / "a.txt", "text")


def test_saving_refuses_an_unknown_format_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConstitutionFileError, match="did you mean 'yaml'"):
        save_constitution(default_constitution(), tmp_path / "a", "yml")
    with pytest.raises(ConstitutionFileError, match="found a folder"):
        save_constitution(default_constitution(), tmp_path)
    with pytest.raises(ConstitutionFileError, match="unknown format 'yml'"):
        dump_constitution(default_constitution(), "yml")


def test_examples_of_a_constitution_can_be_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    save_constitution(default_constitution(), path)
    assert read_few_shots(path) == default_constitution().few_shots
    path.write_text(GOOD)
    with pytest.raises(ConstitutionFileError, match="found a constitution without any"):
        read_few_shots(path)


# Round trip


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
ANY = st.text(st.characters(exclude_categories=["Cs"]))
WORD = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1).filter(
    lambda s: s.split() == [s]
)
WEIGHT = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@st.composite
def principles(draw: st.DrawFn) -> Principle:
    uses = draw(st.sampled_from([("critique",), ("comparison",), ("critique", "comparison")]))
    fields = {
        "id": draw(WORD),
        "text": draw(TEXT),
        "source": draw(ANY),
        "tags": draw(st.lists(ANY, max_size=2)),
        "weight": draw(WEIGHT),
        "uses": uses,
    }
    if "critique" in uses and draw(st.booleans()):
        fields |= {"critique_request": draw(TEXT), "revision_request": draw(TEXT)}
    if "comparison" in uses:
        fields |= {"comparison_question": draw(st.none() | TEXT)}
    return Principle.model_validate(fields)


OPEN = ANY.map(Conversation.of)
CHAIN = st.lists(ANY, min_size=6, max_size=6).map(
    lambda t: Conversation(
        turns=tuple(
            Turn(role=role, text=text)
            for role, text in zip(
                (
                    "human",
                    "assistant",
                    "critique_request",
                    "critique",
                    "revision_request",
                    "revision",
                ),
                t,
                strict=True,
            )
        )
    )
)
FEW = st.builds(
    FewShots,
    critique_revision=st.lists(CHAIN, max_size=2).map(tuple),
    comparison=st.lists(
        st.builds(ComparisonExample, conversation=OPEN, better=ANY, worse=ANY), max_size=2
    ).map(tuple),
    cot=st.lists(
        st.builds(
            CotExample,
            conversation=OPEN,
            response_a=ANY,
            response_b=ANY,
            reasoning=ANY,
            answer=st.sampled_from(["A", "B"]),
            verbatim=st.none() | st.just("a {} b"),
        ),
        max_size=1,
    ).map(tuple),
)
CONSTITUTIONS = st.builds(
    Constitution,
    name=ANY,
    description=ANY,
    principles=st.lists(principles(), min_size=1, max_size=3, unique_by=lambda p: p.id).map(tuple),
    few_shots=FEW,
)


@pytest.mark.parametrize(
    "text", ["a\r\nb", "a\rb", "a\x85b", "a\u2028b", "a\u2029", "\n a", "a\n\n"]
)
def test_every_line_break_survives(tmp_path: Path, text: str) -> None:
    c = Constitution(name="x", principles=(Principle(id="a", text=text),))
    save_constitution(c, tmp_path / "a.yaml")
    assert load_constitution(tmp_path / "a.yaml") == c


@settings(max_examples=80, deadline=None)
@given(c=CONSTITUTIONS)
def test_yaml_round_trip(c: Constitution, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    save_constitution(c, path)
    back = load_constitution(path)
    assert back == c
    assert back.fingerprint == c.fingerprint


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=200) | st.text(max_size=200).map(lambda s: s.encode("utf-8", "replace"))
)
def test_no_file_raises_anything_else(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    try:
        load_constitution(path)
    except ConstitutionFileError as error:
        assert "\n" not in error.reason


def test_the_example_in_the_guide_loads(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "constitutions.md"
    example = guide.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "guide.yaml"
    path.write_text(example, encoding="utf-8")
    c = load_constitution(path)
    assert [p.id for p in c.critiquing] == ["kind", "recipes"]
    assert [p.id for p in c.comparing] == ["kind", "recipes", "tone"]
