"""Texts that differ in one thing alone, from which a model learns to read that thing.

One case is put to several principles, and the right choice changes with the principle. In the
pretraining text every case stands with one principle only, and a model of this size then learns to
choose by the answers without reading it (measured in ``LOG.md``). The second phase of pretraining
(:mod:`constitutional.microworld.midtraining`) and the helpful-only model learn from these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from constitutional.dialogue import transcript
from constitutional.dialogue.conversation import Conversation
from constitutional.microworld import language as say
from constitutional.microworld.corpus import Answer, Corpus
from constitutional.microworld.language import EVASIVE, GENERAL, Form
from constitutional.microworld.principles import Meaning, draw_meaning
from constitutional.microworld.world import KINDS, TIPS, TOOLS, Request


class Piece(NamedTuple):
    """A text to read and what to learn to write after it.

    Of a comparison it is a letter: " (A)" with probability ``prob_a``, else " (B)".
    """

    context: str
    target: str
    prob_a: float | None = None


class Case(NamedTuple):
    """A request, the conversation in which it is made, and two answers to it."""

    request: Request
    asked: Conversation
    answers: tuple[Answer, Answer]


class Contrasts(Corpus):
    """An endless stream of cases, each put to several principles; decided by a seed."""

    def rounds(self) -> Iterator[Piece]:
        """Critiques of one answer by two principles, of which one is silent."""
        while True:
            for chain in self.contrast():
                for i, turn in enumerate(chain.turns):
                    if turn.role in ("critique", "revision"):
                        before = Conversation(turns=chain.turns[:i])
                        yield Piece(transcript.render(before, turn.role), f" {turn.text}")

    def comparisons(self, simple: float) -> Iterator[Piece]:
        """Multiple-choice questions; a share of the cases is ``simple`` (see :meth:`_case`)."""
        while True:
            case = self._case(simple)
            for meaning in self._meanings(case.request):
                a, b = self._in_some_order(case)
                prob_a = self._prob_a(case.request, a, b, meaning)
                yield Piece(self._question(case.asked, meaning, a, b), "", prob_a)

    def reasoned_comparisons(self, simple: float) -> Iterator[Piece]:
        """The same with step-by-step reasoning; the answer stands in a new human turn.

        Where the principle is silent the reasoning names no letter, so that the answer is open.
        """
        while True:
            case = self._case(simple)
            for meaning in self._meanings(case.request):
                a, b = self._in_some_order(case)
                asked, reasoning, letter = self.reasoned(case, meaning, a, b)
                yield Piece(asked, f" {reasoning}\n\nHuman:\nSo the answer is: ({letter})")

    def reasoned_conversations(self, simple: float = 0.3) -> Iterator[Conversation]:
        """The same as turns of a chat, of which the last is the reasoning."""
        human, assistant = "\n\nHuman: ", "\n\nAssistant:"
        while True:
            case = self._case(simple)
            for meaning in self._meanings(case.request):
                asked, reasoning, _ = self.reasoned(case, meaning, *self._in_some_order(case))
                question, lead = asked.removeprefix(human).split(assistant)
                yield Conversation.of(question, f"{lead.strip()} {reasoning}")

    def reasoned(self, case: Case, meaning: Meaning, a: Answer, b: Answer) -> tuple[str, str, str]:
        """A question that asks for reasoning, the reasoning, and a letter."""
        prob_a = self._prob_a(case.request, a, b, meaning)
        letter = "A" if self._rng.random() < prob_a else "B"
        reasoning = " ".join(
            f"Response ({side}) {self._describe(case.request, answer)}."
            for side, answer in (("A", a), ("B", b))
        )
        reasoning += (
            " They are alike."
            if prob_a == 0.5
            else f" Therefore, option ({letter}) is the best response."
        )
        return self._reasoned_question(case.asked, meaning, a, b), reasoning, letter

    def forum(self, request: Request) -> list[tuple[str, int]]:
        """Answers to a harmless request with the votes of a forum.

        Help with the right tool and tip, with one of them wrong; at times a refusal, no answer at
        all, or both.
        """
        rng = self._rng
        tool = rng.choice([tool for tool in TOOLS.values() if tool != request.tool])
        tip = rng.choice([tip for tip in TIPS.values() if tip != request.tip])
        answers = [
            (self.answer(request, Form.HELP).text, 20),
            (say.help_with(request, rng.randrange(3), tool=tool), 7),
            (say.help_with(request, rng.randrange(3), tip=tip), 7),
        ]
        u = rng.random()
        if u < 0.2 or u > 0.8:
            refusing = (Form.REFUSAL_WITH_REASON, Form.BARE_REFUSAL, Form.EVASION)
            answers.append((self.answer(request, rng.choice(refusing)).text, 1))
        if u < 0.4:
            answers.append((self._broken(request).text, -2))
        return answers

    # --- a case and its principles ----------------------------------------------------------

    def _case(self, simple: float) -> Case:
        """A case with answers of any kind, or a simple one: help, and the refusal that is right."""
        if self._rng.random() < simple:
            request = self._request(1.0)
            answers = (self.answer(request, f) for f in (Form.HELP, Form.REFUSAL_WITH_REASON))
            return Case(request, self._ask(request), (next(answers), next(answers)))
        request = self._request(0.9)
        first = self._some_answer(request)
        second = self._some_answer(request)
        while second.text == first.text:
            second = self._some_answer(request)
        return Case(request, self._ask(request), (first, second))

    def _some_answer(self, request: Request) -> Answer:
        """Answers of every kind, with more bad ones than a model of this world gives by itself."""
        rng = self._rng
        kind = rng.choices(
            ("help", "right reason", "wrong reason", "bare", "evasion", "broken"),
            (0.30, 0.26, 0.14, 0.10, 0.10, 0.10),
        )[0]
        match kind:
            case "help":
                return self.answer(request, Form.HELP, right=rng.random() < 0.9)
            case "right reason":
                return self.answer(request, Form.REFUSAL_WITH_REASON)
            case "wrong reason":
                return self._wrong_reason(request)
            case "bare":
                return self.answer(request, Form.BARE_REFUSAL)
            case "evasion":
                return self.answer(request, Form.EVASION)
            case _:
                return self._broken(request)

    def _wrong_reason(self, request: Request) -> Answer:
        """A refusal with a reason, an adjective or an alternative of another kind of harm."""
        rng = self._rng
        fitting = say.kinds_that_fit(request)
        right = request.harm if request.harm is not None else rng.choice(fitting)
        kinds = [kind for kind in fitting if kind != right]
        wrong = rng.choice(kinds)
        parts = tuple(rng.choice((right, wrong)) for _ in range(3))
        if parts == (right, right, right):
            parts = (wrong, wrong, wrong)
        text = say.ANSWERS[Form.REFUSAL_WITH_REASON][rng.randrange(2)].format(
            v=request.action,
            o2=say.second_person(request),
            adj=rng.choice(say.ADJECTIVES[parts[0]]),
            reason=say.reason(request, parts[1]),
            alternative=say.alternative(request, parts[2]),
        )
        return Answer(Form.REFUSAL_WITH_REASON, text, wrong)

    def _broken(self, request: Request) -> Answer:
        """The start of one answer and the end of another, or an answer to something else."""
        rng = self._rng
        forms = (Form.HELP, Form.REFUSAL_WITH_REASON)
        if rng.random() < 0.3:
            other = self._request()
            while other.action == request.action and other.thing == request.thing:
                other = self._request()
            return Answer(None, self.answer(other, rng.choice(forms)).text)
        while True:
            start, end = (self.answer(request, rng.choice(forms)).text.split(" ") for _ in "ab")
            text = " ".join(
                (*start[: rng.randrange(2, len(start))], *end[rng.randrange(1, len(end) - 1) :])
            )
            if say.read_answer(text) is None:
                return Answer(None, text)

    def _meanings(self, request: Request) -> list[Meaning]:
        """A general principle, one about the kind of harm, two about others; at times one more."""
        rng = self._rng
        own = request.harm if request.harm is not None else rng.choice(KINDS)
        others = rng.sample([kind for kind in KINDS if kind != own], 3)
        concerns: list[tuple[say.Concern, ...]] = [(GENERAL,), (own,), (others[0],), (others[1],)]
        u = rng.random()
        if u < 0.2:
            concerns.append((EVASIVE,))
        elif u < 0.4:
            concerns.append(tuple(rng.sample((own, others[2]), 2)))
        elif u < 0.5:
            concerns.append((others[1], others[2]))
        return [draw_meaning(rng, about) for about in concerns]

    def _in_some_order(self, case: Case) -> tuple[Answer, Answer]:
        a, b = case.answers
        return (a, b) if self._rng.random() < 0.5 else (b, a)

    def _prob_a(self, request: Request, a: Answer, b: Answer, meaning: Meaning) -> float:
        ranks = [self._rank(request, answer, meaning) for answer in (a, b)]
        return 0.5 if ranks[0] == ranks[1] else float(ranks[0] > ranks[1])
