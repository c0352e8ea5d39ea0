"""The pretraining text: what a model of the microworld has read.

Statements about the world, questions with answers of every kind, critiques and revisions, lists of
prompts, and comparisons in the multiple-choice form with and without step-by-step reasoning. It is
imperfect as human text is: a small share of critiques, revisions and choices is wrong.

Held-out requests occur nowhere in it; held-out phrasings only in plain questions and answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from constitutional.dialogue import transcript
from constitutional.dialogue.conversation import Conversation
from constitutional.microworld import language as say
from constitutional.microworld.language import ADJECTIVES, EVASIVE, GENERAL, VIRTUES, Form
from constitutional.microworld.principles import Meaning, draw_meaning
from constitutional.microworld.splits import seen_requests
from constitutional.microworld.world import KINDS, OBJECTS, TIPS, TOOLS, Kind, Request


@dataclass(frozen=True)
class Noise:
    """Shares of the text that are wrong."""

    critique: float = 0.01
    revision: float = 0.01
    choice: float = 0.02


@dataclass(frozen=True)
class Answer:
    """An answer and what it is, known because it was made so.

    ``form`` is None when it is no answer to the request; ``kind`` is the reason that it gives.
    """

    form: Form | None
    text: str
    kind: Kind | None = None


class Corpus:
    """An endless stream of documents, decided by a seed."""

    def __init__(self, seed: int, noise: Noise | None = None):
        self._rng = random.Random(f"corpus:{seed}")
        self._noise = noise or Noise()
        self._by_kind: dict[Kind | None, list[Request]] = {kind: [] for kind in (*KINDS, None)}
        for request in seen_requests():
            self._by_kind[request.harm].append(request)

    def documents(self) -> Iterator[str]:
        """Documents without end, the kinds of document mixed.

        Some hold several critiques or comparisons in a row, so that few-shot prompts are familiar.
        """
        makers = (
            (self.statements, 0.10),
            (self.dialogue, 0.25),
            (self.critique_and_revision, 0.34),
            (self.prompt_list, 0.03),
            (self.comparison, 0.16),
            (self.reasoned_comparison, 0.12),
        )
        functions, weights = zip(*makers, strict=True)
        few_shot = (self.critique_and_revision, self.comparison, self.reasoned_comparison)
        while True:
            make = self._rng.choices(functions, weights)[0]
            several = make in few_shot and self._rng.random() < 0.15
            yield "".join(make() for _ in range(self._rng.randint(2, 6) if several else 1))

    def helping_dialogue(self, requests: Sequence[Request]) -> Conversation:
        """A question about one of the requests and an answer that helps, harmful or not."""
        request = self._rng.choice(requests)
        answer = self.answer(request, Form.HELP)
        return self._ask(request, plain=True).add("assistant", answer.text)

    # --- requests and answers ---------------------------------------------------------------

    def _request(self, harmful_share: float = 0.5) -> Request:
        harmful = self._rng.random() < harmful_share
        kind = self._rng.choice(KINDS) if harmful else None
        return self._rng.choice(self._by_kind[kind])

    def _ask(self, request: Request, *, plain: bool = False) -> Conversation:
        phrasings = say.QUESTIONS + (say.HELD_OUT_QUESTIONS if plain else ())
        phrasing = self._rng.choice(phrasings)
        if self._rng.random() < 0.15:
            return say.ask_in_two_turns(request, self._rng.choice(say.OPENINGS), phrasing)
        return say.ask(request, phrasing)

    def answer(self, request: Request, form: Form, *, right: bool = True) -> Answer:
        """An answer of a form; ``right=False`` names a wrong tool, or a wrong reason."""
        rng = self._rng
        template = rng.randrange(len(say.ANSWERS[form]))
        match form:
            case Form.HELP:
                tool = "" if right else rng.choice([*TOOLS.values()])
                tip = "" if right else rng.choice([*TIPS.values()])
                return Answer(form, say.help_with(request, template, tool=tool, tip=tip))
            case Form.REFUSAL_WITH_REASON:
                known = right and request.harm is not None
                kind = request.harm if known else rng.choice(say.kinds_that_fit(request))
                assert kind is not None
                return Answer(form, say.refuse(request, template, kind, rng.randrange(2)), kind)
            case Form.BARE_REFUSAL:
                return Answer(form, say.refuse_barely(request, template))
            case Form.EVASION:
                return Answer(form, say.evade(template))

    def _any_answer(self, request: Request, *, help_share: float) -> Answer:
        rng = self._rng
        if rng.random() < help_share:
            return self.answer(request, Form.HELP, right=rng.random() < 0.97)
        form = rng.choices(
            (Form.REFUSAL_WITH_REASON, Form.BARE_REFUSAL, Form.EVASION), (0.55, 0.15, 0.3)
        )[0]
        return self.answer(request, form, right=rng.random() < 0.93)

    # --- kinds of document ------------------------------------------------------------------

    def statements(self) -> str:
        """What is harmful and why, what is fine, which tool does what."""
        return "\n\n" + " ".join(self._statement() for _ in range(self._rng.randint(2, 5)))

    def _statement(self) -> str:
        rng = self._rng
        u = rng.random()
        if u < 0.65:
            request = self._request(0.6)
            phrase = f"{request.action} {say.second_person(request)}"
            if request.harm is None:
                return rng.choice(("It is fine to {p}.", "To {p} is harmless.")).format(p=phrase)
            adjective = rng.choice(ADJECTIVES[request.harm])
            return rng.choice(("It is {a} to {p}, because {r}.", "To {p} is {a}: {r}.")).format(
                p=phrase, a=adjective, r=say.reason(request, request.harm)
            )
        if u < 0.80:
            action = rng.choice([*TOOLS])
            return f"To {action} something, use {TOOLS[action]}."
        if u < 0.90:
            object_class = rng.choice([*OBJECTS])
            return f"With the {rng.choice(OBJECTS[object_class])}, {TIPS[object_class]}."
        concern = rng.choice([*KINDS, GENERAL, EVASIVE])
        first, second = ADJECTIVES[concern]
        return rng.choice(
            (
                f"What is {first} is {second}.",
                f"What is {second} is not {VIRTUES[concern]}.",
                f"What is {rng.choice((first, second))} is harmful.",
            )
        )

    def dialogue(self) -> str:
        """One or two questions with answers of every kind."""
        text = ""
        for _ in range(self._rng.randint(1, 2)):
            request = self._request()
            conversation = self._ask(request, plain=True)
            share = 0.72 if request.harm is None else 0.55
            answer = self._any_answer(request, help_share=share)
            text += transcript.render(conversation.add("assistant", answer.text))
        return text

    def critique_and_revision(self) -> str:
        """One round as a transcript."""
        return transcript.render(self.round())

    def round(self) -> Conversation:
        """One round: answer, critique by a principle, revision; some go without the critique."""
        rng = self._rng
        meaning = draw_meaning(rng)
        request = self._request(0.65)
        if request.harm and not meaning.covers(request.harm) and rng.random() < 0.5:
            request = rng.choice(self._by_kind[self._kind_in(meaning) or request.harm])
        return self._round(meaning, request, self._any_answer(request, help_share=0.68))

    def contrast(self) -> tuple[Conversation, Conversation]:
        """Rounds on one harmful answer by two principles: about its kind of harm, and another.

        Only the principle tells them apart. Not part of the pretraining text; the helpful-only
        model learns from them to read the principle.
        """
        rng = self._rng
        request = self._request(1.0)
        first = self._any_answer(request, help_share=0.95)
        other = rng.choice([kind for kind in KINDS if kind != request.harm])
        assert request.harm is not None
        about, beside = (draw_meaning(rng, (kind,)) for kind in (request.harm, other))
        return self._round(about, request, first), self._round(beside, request, first)

    def _round(self, meaning: Meaning, request: Request, first: Answer) -> Conversation:
        rng = self._rng
        faulty = self._at_fault(request, first, meaning)
        if rng.random() < self._noise.critique:
            faulty = not faulty and first.form is Form.HELP and request.harm is not None
        chain = self._ask(request).add("assistant", first.text)
        if rng.random() < 0.8:
            chain = chain.add("critique_request", meaning.principle.critique)
            chain = chain.add("critique", self._critique(request, first, meaning, faulty))
        chain = chain.add("revision_request", meaning.principle.revision)
        mended = faulty and rng.random() >= self._noise.revision
        revision = self._mend(request) if mended else first.text
        return chain.add("revision", revision)

    def _kind_in(self, meaning: Meaning) -> Kind | None:
        kinds = [k for k in KINDS if k in meaning.concerns]
        return self._rng.choice(kinds) if kinds else None

    @staticmethod
    def _at_fault(request: Request, answer: Answer, meaning: Meaning) -> bool:
        if answer.form is Form.HELP:
            return meaning.covers(request.harm)
        return answer.form is Form.EVASION and meaning.against_evasion

    def _critique(self, request: Request, answer: Answer, meaning: Meaning, faulty: bool) -> str:
        rng = self._rng
        if not faulty:
            return rng.choice(say.NOTHING_FOUND).format(adj=meaning.adjective)
        if answer.form is Form.EVASION:
            return say.FOUND_EVASIVE.format(adj=rng.choice(ADJECTIVES[EVASIVE]))
        assert request.harm is not None  # only help with a harmful request is at fault otherwise
        return say.find_harm(request, rng.randrange(len(say.FOUND)), request.harm, rng.randrange(2))

    def _mend(self, request: Request) -> str:
        if request.harm is None:
            return self.answer(request, Form.HELP).text
        return self.answer(request, Form.REFUSAL_WITH_REASON).text

    def prompt_list(self) -> str:
        """A list of harmful or of harmless questions, from which a model learns to make more."""
        harmful = self._rng.random() < 0.5
        head = "harmful" if harmful else "harmless"
        questions = [
            self._rng.choice(say.QUESTIONS).format(v=r.action, o=say.first_person(r))
            for r in (self._request(float(harmful)) for _ in range(self._rng.randint(4, 8)))
        ]
        return f"\n\nHere are {head} questions:" + "".join(f"\n- {q}" for q in questions)

    # --- comparisons ------------------------------------------------------------------------

    def _pair(self) -> tuple[Request, Meaning, Answer, Answer, float]:
        """A request, a principle, two answers, and the probability that the first is better."""
        rng = self._rng
        meaning = draw_meaning(rng)
        request = self._request(0.7)
        kind = self._kind_in(meaning)
        if request.harm and kind and rng.random() < 0.5:
            request = rng.choice(self._by_kind[kind])
        a, b = (self._any_answer(request, help_share=0.45) for _ in range(2))
        ranks = [self._rank(request, answer, meaning) for answer in (a, b)]
        prob_a = 0.5 if ranks[0] == ranks[1] else float(ranks[0] > ranks[1])
        return request, meaning, a, b, prob_a

    @staticmethod
    def _rank(request: Request, answer: Answer, meaning: Meaning) -> int:
        """How good an answer is by a principle: higher is better, equal where it is silent."""
        if meaning.against_evasion:
            return 0 if answer.form is Form.EVASION else 1
        if not meaning.covers(request.harm):
            return 0
        match answer.form:
            case Form.HELP:
                return 0
            case None:
                return 1
            case Form.EVASION:
                return 2
            case Form.BARE_REFUSAL:
                return 3
            case Form.REFUSAL_WITH_REASON:
                return 4 if answer.kind == request.harm else 3

    def _choose(self, prob_a: float) -> str:
        if 0 < prob_a < 1 or self._rng.random() < self._noise.choice:
            return self._rng.choice("AB")
        return "A" if prob_a else "B"

    def comparison(self) -> str:
        """A multiple-choice question in the paper's form, with its answer."""
        request, meaning, a, b, prob_a = self._pair()
        asked = self._ask(request)
        return self._question(asked, meaning, a, b) + f" ({self._choose(prob_a)})"

    @staticmethod
    def _question(asked: Conversation, meaning: Meaning, a: Answer, b: Answer) -> str:
        return (
            "\n\nConsider the following conversation between a human and an assistant:"
            f"{transcript.render(asked)}\n\n\n{meaning.principle.comparison} Options:"
            f"\n (A) [[[{a.text}]]]\n (B) [[[{b.text}]]]"
            "\n\nThe answer is:"
        )

    def reasoned_comparison(self) -> str:
        """The same with step-by-step reasoning; the answer stands in a new human turn."""
        request, meaning, a, b, prob_a = self._pair()
        asked = self._ask(request)
        choice = self._choose(prob_a)
        reasoning = (
            f"Response (A) {self._describe(request, a)}. Response (B) {self._describe(request, b)}."
        )
        reasoning += (
            f" They are alike, so I choose ({choice})."
            if 0 < prob_a < 1
            else f" Therefore, option ({choice}) is the best response."
        )
        return (
            f"{self._reasoned_question(asked, meaning, a, b)} {reasoning}"
            f"\n\nHuman:\nSo the answer is: ({choice})"
        )

    @staticmethod
    def _reasoned_question(asked: Conversation, meaning: Meaning, a: Answer, b: Answer) -> str:
        conversation = "".join(
            f"\n\n{'H' if turn.role == 'human' else 'A'}: {turn.text}" for turn in asked.turns
        )
        return (
            "\n\nHuman: Consider the following conversation between a human (H) and an assistant"
            f" (A):{conversation}\n\n{meaning.principle.comparison} Options:"
            f"\n (A) [[[{a.text}]]]\n (B) [[[{b.text}]]]"
            "\n\nAssistant: Let's think step by step:"
        )

    def _describe(self, request: Request, answer: Answer) -> str:
        match answer.form:
            case None:
                return "is not an answer"
            case Form.HELP if request.harm is None:
                return f"helps the human {request.action} {say.third_person(request)}"
            case Form.HELP:
                assert request.harm is not None
                adjective = self._rng.choice(ADJECTIVES[request.harm])
                return (
                    f"helps the human {request.action} {say.third_person(request)},"
                    f" which is {adjective}"
                )
            case Form.EVASION:
                return "is evasive"
            case Form.BARE_REFUSAL:
                return "gives no reason"
            case Form.REFUSAL_WITH_REASON if answer.kind and answer.kind == request.harm:
                return f"does not help, because {say.reason(request, answer.kind)}"
            case Form.REFUSAL_WITH_REASON:
                return "gives a wrong reason"
