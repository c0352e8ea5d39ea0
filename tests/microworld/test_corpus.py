"""The pretraining text: what is held out is not in it, and it says what it is meant to say.

The documents are read here by expressions of their own, not by the corpus' code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import pytest

from constitutional.dialogue import transcript
from constitutional.dialogue.conversation import Conversation
from constitutional.microworld import language as say
from constitutional.microworld.corpus import Corpus, Noise
from constitutional.microworld.language import EVASIVE, GENERAL, Form, concerns_of
from constitutional.microworld.splits import is_held_out, seen_requests
from constitutional.microworld.world import ACTIONS, CLASS_OF, OWNERS, Request, all_requests

# --- reading documents ------------------------------------------------------------------------

_THING = "|".join(CLASS_OF)
_OWNER = "|".join({*OWNERS, *(re.sub(r"^(my|our)\b", p, o) for o in OWNERS for p in ("your", "their"))})  # fmt: skip # noqa: E501
#: "read a stranger's letter", in any person.
_DEED = re.compile(rf"\b({'|'.join(ACTIONS)}) ({_OWNER}) ({_THING})\b")
#: The same said in two turns, in dialogues and in comparisons ("Human:" or "H:").
_DEED_IN_TWO_TURNS = re.compile(
    rf" about ({_OWNER}) ({_THING})\.\n\n(?:Assistant|A): [^\n]*"
    rf"\n\n(?:Human|H): [^\n]*?\b({'|'.join(ACTIONS)}) it\b"
)
_HELD_OUT_PHRASING = re.compile(r"Please show me how to|What do I need to")

_COMPARISON = re.compile(
    r"\n\nConsider the following conversation between a human and an assistant:"
    r"(?P<conversation>(?:\n\n(?:Human|Assistant): [^\n]+)+)"
    r"\n\n\n(?P<question>[^\n]+) Options:"
    r"\n \(A\) \[\[\[(?P<a>[^\n]+)\]\]\]\n \(B\) \[\[\[(?P<b>[^\n]+)\]\]\]"
    r"\n\nThe answer is: \((?P<choice>[AB])\)"
)
_REASONED = re.compile(
    r"\n\nHuman: Consider the following conversation between a human \(H\) and an assistant \(A\):"
    r"(?P<conversation>(?:\n\n[HA]: [^\n]+)+)"
    r"\n\n(?P<question>[^\n]+) Options:"
    r"\n \(A\) \[\[\[(?P<a>[^\n]+)\]\]\]\n \(B\) \[\[\[(?P<b>[^\n]+)\]\]\]"
    r"\n\nAssistant: Let's think step by step: (?P<reasoning>[^\n]+)"
    r"\n\nHuman:\nSo the answer is: \((?P<choice>[AB])\)"
)


def kind_of(document: str) -> str:
    if "Let's think step by step:" in document:
        return "reasoned_comparison"
    if "Consider the following conversation" in document:
        return "comparison"
    if "\n\nRevisionRequest:" in document:
        return "critique_and_revision" if "\n\nCritique:" in document else "revision"
    if document.startswith("\n\nHere are harm"):
        return "prompt_list"
    if document.startswith("\n\nHuman:"):
        return "dialogue"
    return "statements"


def deeds(document: str) -> Iterator[tuple[str, str, str]]:
    """Every (action, owner, thing) that a document speaks of, the owner in whatever person."""
    yield from _DEED.findall(document)
    for owner, thing, action in _DEED_IN_TWO_TURNS.findall(document):
        yield action, owner, thing


def in_all_persons(request: Request) -> set[tuple[str, str, str]]:
    phrases = (say.first_person(request), say.second_person(request), say.third_person(request))
    return {(request.action, p.removesuffix(f" {request.thing}"), request.thing) for p in phrases}


@dataclass(frozen=True)
class Compared:
    """A comparison as read from the text, with the rank that each answer ought to have."""

    request: Request
    ranks: tuple[int, int]
    choice: str
    reasoning: str = ""

    @property
    def alike(self) -> bool:
        return self.ranks[0] == self.ranks[1]

    @property
    def right(self) -> str:
        return "A" if self.ranks[0] > self.ranks[1] else "B"


def rank(request: Request, answer: str, question: str) -> int:
    """The stated order, worked out again from the texts: what the principle speaks of decides."""
    said = say.read_answer(answer)
    assert said is not None, answer
    concerns = concerns_of(question)
    assert concerns, question
    if EVASIVE in concerns:
        return int(said.form is not Form.EVASION)
    if request.harm is None or not concerns & {GENERAL, request.harm}:
        return 0
    if said.form is Form.REFUSAL_WITH_REASON:
        right = said.slots["reason"] == say.reason(request, request.harm)
        return 3 if right and said.slots["adj"] in say.ADJECTIVES[request.harm] else 2
    return {Form.HELP: 0, Form.EVASION: 1, Form.BARE_REFUSAL: 2}[said.form]


def comparisons(documents: Iterable[str]) -> Iterator[Compared]:
    for document in documents:
        if "Consider the following" not in document:
            continue
        rest = document
        for pattern in (_COMPARISON, _REASONED):
            for match in pattern.finditer(document):
                rest = rest.replace(match[0], "", 1)
                turns = re.split(r"\n\n(?:Human|Assistant|H|A): ", match["conversation"])[1:]
                request = say.read_request(Conversation.of(*turns))
                assert request is not None, match["conversation"]
                yield Compared(
                    request,
                    (
                        rank(request, match["a"], match["question"]),
                        rank(request, match["b"], match["question"]),
                    ),
                    match["choice"],
                    match.groupdict().get("reasoning", ""),
                )
        assert rest == "", "every byte of such a document is in the official form"


@pytest.fixture(scope="module")
def compared(documents: list[str]) -> list[Compared]:
    return list(comparisons(documents))


@pytest.fixture(scope="module")
def rounds(documents: list[str]) -> list[Conversation]:
    """Every round of critique and revision, those in a row taken apart."""
    found = []
    for document in documents:
        if "RevisionRequest" in document:
            turns = transcript.parse(document).turns
            ends = [i + 1 for i, turn in enumerate(turns) if turn.role == "revision"]
            for start, end in zip([0, *ends], ends, strict=False):
                found.append(Conversation(turns=turns[start:end]))
    return found


# --- held out for real ------------------------------------------------------------------------


def test_the_search_finds_what_it_is_to_find() -> None:
    """Every request in every phrasing and person; else the next tests would find nothing either."""
    for request in all_requests():
        phrases = in_all_persons(request)
        for text in (
            f"To {request.action} {say.second_person(request)} is harmless.",
            transcript.render(say.ask(request, say.QUESTIONS[3])),
            transcript.render(say.ask_in_two_turns(request, say.OPENINGS[1], say.QUESTIONS[0])),
            say.find_harm(request, 0, request.harm or "dangerous"),
            say.refuse(request, 1, request.harm or "dangerous"),
            say.help_with(request, 2),
        ):
            assert phrases & set(deeds(text)), text
    two = say.ask_in_two_turns(Request("read", "note", "my"), say.OPENINGS[0], say.QUESTIONS[5])
    as_h = transcript.render(two).replace("Human:", "H:").replace("Assistant:", "A:")
    assert set(deeds(as_h)) == {("read", "my", "note")}


def test_no_held_out_request_is_spoken_of(documents: list[str]) -> None:
    """In no person. One's own things are "your" and "their" for "my" and "our" alike: there the
    words can come from the other one of the two, and only "my" and "our" themselves tell."""
    spoken = {deed for document in documents for deed in deeds(document)}
    seen = {phrase for request in seen_requests() for phrase in in_all_persons(request)}
    assert spoken <= seen
    for request in all_requests():
        if is_held_out(request):
            phrase = (request.action, request.owner, request.thing)
            assert phrase not in spoken
            assert not (in_all_persons(request) - seen) & spoken


def test_every_seen_request_is_spoken_of(documents: list[str]) -> None:
    spoken = {deed for document in documents for deed in deeds(document)}
    unheard = [r for r in seen_requests() if not in_all_persons(r) & spoken]
    assert len(unheard) < 0.01 * len(seen_requests())


def test_the_answers_and_critiques_are_about_what_was_asked(rounds: list[Conversation]) -> None:
    """So "your letter" is never a held-out one by way of an answer to another question."""
    for round_ in rounds:
        humans = [t.text for t in round_.turns if t.role == "human"]
        assistants = [t.text for t in round_.turns if t.role == "assistant"]
        asked = [t for pair in zip(humans, [*assistants[:-1], ""], strict=True) for t in pair][:-1]
        request = say.read_request(Conversation.of(*asked))
        assert request is not None and not is_held_out(request)
        about = {*in_all_persons(request)}
        rest = [t.text for t in round_.turns if t.role != "human"]
        assert {deed for text in rest for deed in deeds(text)} <= about


def test_held_out_phrasings_occur_in_plain_dialogues_alone(documents: list[str]) -> None:
    kinds = Counter(kind_of(d) for d in documents if _HELD_OUT_PHRASING.search(d))
    assert set(kinds) == {"dialogue"}
    phrasings = [p.partition(" {v}")[0] for p in say.HELD_OUT_QUESTIONS]
    for phrasing in phrasings:
        assert _HELD_OUT_PHRASING.match(phrasing)
        assert sum(phrasing in d for d in documents) > 300


# --- documents --------------------------------------------------------------------------------


def test_documents_are_decided_by_the_seed(documents: list[str]) -> None:
    assert list(islice(Corpus(0).documents(), 300)) == documents[:300]
    assert list(islice(Corpus(1).documents(), 300)) != documents[:300]
    first, second = Corpus(5), Corpus(5)
    next(Corpus(6).documents())  # another corpus at work changes nothing
    assert [first.round() for _ in range(20)] == [second.round() for _ in range(20)]


def test_every_kind_of_document_occurs_as_often_as_meant(documents: list[str]) -> None:
    shares = {k: n / len(documents) for k, n in Counter(map(kind_of, documents)).items()}
    critiques = shares.pop("critique_and_revision") + shares.pop("revision")
    assert critiques == pytest.approx(0.34, abs=0.012)
    assert shares == {
        "statements": pytest.approx(0.10, abs=0.01),
        "dialogue": pytest.approx(0.25, abs=0.01),
        "prompt_list": pytest.approx(0.03, abs=0.005),
        "comparison": pytest.approx(0.16, abs=0.01),
        "reasoned_comparison": pytest.approx(0.12, abs=0.01),
    }


def test_documents_are_clean_text(documents: list[str]) -> None:
    for document in documents:
        assert document.startswith("\n\n") and document == document.rstrip()
        assert document.isascii()
        assert "{" not in document and "  " not in document


def test_dialogues_hold_answers_of_every_form(documents: list[str]) -> None:
    forms: Counter[Form] = Counter()
    for document in documents:
        if kind_of(document) == "dialogue":
            turns = transcript.parse(document).turns
            openings = {answer for _, answer in say.OPENINGS}
            for turn in turns:
                if turn.role == "assistant" and turn.text not in openings:
                    said = say.read_answer(turn.text)
                    assert said is not None, turn.text
                    forms[said.form] += 1
    assert min(forms[form] for form in Form) > 0.03 * forms.total()
    assert forms[Form.HELP] == max(forms.values())


def test_prompt_lists_hold_what_they_say(documents: list[str]) -> None:
    heads = set()
    for document in documents:
        if kind_of(document) == "prompt_list":
            head, *lines = document.strip().split("\n")
            harmful = {"Here are harmful questions:": True, "Here are harmless questions:": False}
            heads.add(harmful[head])
            for line in lines:
                request = say.read_request(Conversation.of(line.removeprefix("- ")))
                assert request is not None and (request.harm is not None) is harmful[head]
    assert heads == {True, False}


# --- critiques and revisions ------------------------------------------------------------------


def fault_of(round_: Conversation) -> tuple[str | None, Request]:
    """What the round's principle ought to find in its answer, from the texts alone."""
    turns = round_.turns
    at = max(i for i, turn in enumerate(turns) if turn.role == "assistant")
    request = say.read_request(Conversation(turns=turns[:at]))
    said = say.read_answer(turns[at].text)
    assert request is not None and said is not None
    concerns = concerns_of(" ".join(t.text for t in turns if t.role.endswith("_request")))
    if said.form is Form.EVASION:
        return (EVASIVE if EVASIVE in concerns else None), request
    if said.form is Form.HELP and concerns & {request.harm, GENERAL}:
        return request.harm, request
    return None, request


def test_critiques_are_right_but_for_a_few(rounds: list[Conversation]) -> None:
    wrong = found = total = 0
    for round_ in rounds:
        for turn in round_.turns:
            if turn.role == "critique":
                critique = say.read_critique(turn.text)
                assert critique is not None, turn.text
                fault, _ = fault_of(round_)
                named = say.CONCERN_OF_WORD[critique.adjective] if critique.found else None
                wrong += named != fault
                found += critique.found
                total += 1
    assert total > 5_000
    assert 0.3 < found / total < 0.7
    assert 0.002 < wrong / total < 0.015  # 1% noise, which leaves most harmless answers alone


def test_revisions_mend_what_is_at_fault_and_leave_the_rest(rounds: list[Conversation]) -> None:
    unmended = changed = at_fault = whole = 0
    for round_ in rounds:
        fault, request = fault_of(round_)
        first = [t for t in round_.turns if t.role == "assistant"][-1].text
        said = say.read_answer(round_.last.text)
        assert said is not None
        if fault is None:
            whole += 1
            changed += round_.last.text != first
            continue
        at_fault += 1
        if request.harm is None:
            mended = round_.last.text in {say.help_with(request, i) for i in range(3)}
        else:
            mended = round_.last.text in {
                say.refuse(request, t, request.harm, a) for t in range(2) for a in range(2)
            }
        unmended += not mended
    assert at_fault > 2_000 and whole > 2_000
    assert 0.005 < unmended / at_fault < 0.035  # 1% of critiques miss it, 1% of revisions too
    assert changed / whole < 0.015


def test_some_revisions_stand_without_a_critique(rounds: list[Conversation]) -> None:
    bare = sum(all(t.role != "critique" for t in round_.turns) for round_ in rounds)
    assert bare / len(rounds) == pytest.approx(0.2, abs=0.02)


# --- comparisons ------------------------------------------------------------------------------


def test_the_official_form_to_the_byte(documents: list[str]) -> None:
    """paper's files: header, blank lines, brackets, one blank before the letters, the ending."""
    document = next(
        d for d in documents if kind_of(d) == "comparison" and d.count("The answer is:") == 1
    )
    match = _COMPARISON.fullmatch(document)
    assert match is not None
    assert document == (
        "\n\nConsider the following conversation between a human and an assistant:"
        + match["conversation"]
        + "\n\n\n"
        + match["question"]
        + " Options:\n (A) [[["
        + match["a"]
        + "]]]\n (B) [[["
        + match["b"]
        + "]]]\n\nThe answer is:"
        + f" ({match['choice']})"
    )


def test_labels_agree_with_the_ranks_but_for_the_noise(compared: list[Compared]) -> None:
    decided = [c for c in compared if not c.alike]
    wrong = sum(c.choice != c.right for c in decided)
    assert len(decided) > 2_500
    # a noisy choice is a coin toss, so half of the 2% are wrong
    assert wrong / len(decided) == pytest.approx(0.01, abs=0.006)


def test_without_noise_every_label_agrees() -> None:
    corpus = Corpus(3, Noise(0, 0, 0))
    made = [corpus.comparison() for _ in range(1_000)]
    made += [corpus.reasoned_comparison() for _ in range(1_000)]
    assert all(c.choice == c.right for c in comparisons(made) if not c.alike)


def test_the_position_of_the_right_answer_is_balanced(compared: list[Compared]) -> None:
    decided = [c for c in compared if not c.alike]
    share = sum(c.right == "A" for c in decided) / len(decided)
    assert share == pytest.approx(0.5, abs=0.03)  # three standard errors


def test_indifferent_comparisons_are_a_coin_toss(compared: list[Compared]) -> None:
    alike = [c for c in compared if c.alike]
    assert len(alike) > 2_000
    share = sum(c.choice == "A" for c in alike) / len(alike)
    assert share == pytest.approx(0.5, abs=0.03)


def test_reasoning_says_what_the_choice_is(compared: list[Compared]) -> None:
    for c in compared:
        if c.reasoning:
            assert ("They are alike" in c.reasoning) is c.alike
            last = c.reasoning.rpartition(". ")[2]
            assert last in {
                f"They are alike, so I choose ({c.choice}).",
                f"Therefore, option ({c.choice}) is the best response.",
            }


def test_the_reasoned_form(documents: list[str]) -> None:
    """Roles inside are H and A, the principle comes after one blank line, the answer in a new turn
    of the human (paper, section 4.1 and the files of its appendix E)."""
    document = next(
        d for d in documents if kind_of(d) == "reasoned_comparison" and d.count("step by step") == 1
    )
    assert _REASONED.fullmatch(document)
    assert re.search(r"\n\nHuman:\nSo the answer is: \([AB]\)$", document)
    assert document.count("\n\nHuman:") == 2 and document.count("\n\nAssistant:") == 1
