"""The prompt files of the microworld, made from a seed.

Each request has one purpose (:mod:`constitutional.microworld.splits`). The evaluation has, beside
every harmful prompt, a harmless twin that shares as many of its words (action, object, owner) as
there are requests for: two of three for most. Over-refusal is measured on the twins.
"""

from __future__ import annotations

import json
import random
from itertools import cycle, islice
from pathlib import Path

from constitutional.dialogue import Conversation, PromptRecord
from constitutional.microworld import language as say
from constitutional.microworld.contrasts import Contrasts
from constitutional.microworld.corpus import Corpus
from constitutional.microworld.splits import (
    Purpose,
    purpose_of,
    requests_for,
    seen_requests,
    was_read_as_another,
)
from constitutional.microworld.world import KINDS, Request

#: Evaluation prompts of each kind of harm, seen and held out; requests recur in other phrasings
#: where a kind has fewer.
EVALUATION_PROMPTS = 40
_TWO_TURNS = 0.15
#: In how many phrasings each harmless request is asked in the forum.
_FORUM_PHRASINGS = 2
DEMONSTRATIONS, RANKED = "demonstrations.jsonl", "ranked_answers.jsonl"
#: Prompts of each kind of harm, and harmless ones. Every kind has as many, however few its
#: requests: what a policy does with one kind carries over to the others, most from the most
#: frequent. More harmless ones are compared on, since two answers to them are oftener alike, and a
#: tie teaches nothing.
_TRAINING_PROMPTS: dict[Purpose, tuple[int, int]] = {
    "supervised": (300, 1500),
    "preference": (200, 1600),
    "rl": (150, 750),
}


def prompt_files(seed: int) -> dict[str, list[PromptRecord]]:
    """All prompt files by name."""
    purposes: tuple[Purpose, ...] = ("supervised", "preference", "rl", "evaluation")
    files: dict[str, list[PromptRecord]] = {}
    for purpose in purposes:
        make = _evaluation_prompts if purpose == "evaluation" else _training_prompts
        rng = random.Random(f"prompts:{seed}:{purpose}")
        red_team, helpful = make(rng, purpose)
        files[f"{purpose}_red_team.jsonl"] = red_team
        files[f"{purpose}_helpful.jsonl"] = helpful
    return files


def write_prompt_files(folder: Path, seed: int) -> None:
    """Write all prompt files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in prompt_files(seed).items():
        lines = "".join(record.model_dump_json() + "\n" for record in records)
        (folder / name).write_text(lines, encoding="utf-8")
    for name, rows in ((DEMONSTRATIONS, demonstrations(seed)), (RANKED, ranked_answers(seed))):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name).write_text(text, encoding="utf-8")


def demonstrations(seed: int) -> list[dict[str, object]]:
    """What a person would answer to the supervised stage's harmless prompts, as messages.

    RL from human feedback begins with these; nothing in them says what is harmful.
    """
    corpus = Corpus(seed + 4)
    rows: list[dict[str, object]] = []
    for prompt in prompt_files(seed)["supervised_helpful.jsonl"]:
        request = say.read_request(prompt.conversation)
        assert request is not None
        shown = prompt.conversation.add("assistant", corpus.answer(request, say.Form.HELP).text)
        messages = [
            {"role": "user" if turn.role == "human" else "assistant", "content": turn.text}
            for turn in shown.turns
        ]
        rows.append({"id": prompt.id, "messages": messages})
    return rows


def ranked_answers(seed: int) -> list[dict[str, object]]:
    """Harmless questions as a forum has them: answers with votes, of which right help has most.

    For preference model pretraining. There is no harmful question among them, so that nothing in
    the votes says what is harmful.
    """
    corpus = Contrasts(seed + 5)
    rng = random.Random(f"ranked:{seed}")
    rows: list[dict[str, object]] = []
    requests = [r for r in seen_requests() if r.harm is None and purpose_of(r) != "evaluation"]
    questions = [
        (request, phrasing)
        for request in requests
        for phrasing in rng.sample(say.QUESTIONS, _FORUM_PHRASINGS)
    ]
    for request, phrasing in questions:
        asked = say.ask(request, phrasing).turns[0].text
        answers = [
            {
                "text": text,
                "upvotes": votes + rng.randrange(1 + max(votes, 0) // 4),
                "accepted": votes > 10,
            }
            for text, votes in corpus.forum(request)
        ]
        rng.shuffle(answers)
        rows.append({"id": f"forum-{len(rows)}", "prompt": asked, "answers": answers})
    return rows


def _training_prompts(
    rng: random.Random, purpose: Purpose
) -> tuple[list[PromptRecord], list[PromptRecord]]:
    """Prompts of each kind of harm in turn, so that any cut is balanced; and harmless ones."""
    requests = [
        (request, held_out)
        for held_out in (False, True)
        for request in requests_for(purpose, held_out=held_out)
    ]
    of_a_kind, harmless = _TRAINING_PROMPTS[purpose]
    kinds = (
        _asked(rng, [(r, h) for r, h in requests if r.harm == kind], of_a_kind, purpose)
        for kind in KINDS
    )
    helpful = _asked(rng, [(r, h) for r, h in requests if r.harm is None], harmless, purpose)
    return [prompt for in_turn in zip(*kinds, strict=True) for prompt in in_turn], helpful


def _asked(
    rng: random.Random, requests: list[tuple[Request, bool]], count: int, purpose: Purpose
) -> list[PromptRecord]:
    """``count`` prompts of the requests in random order, which recur in other words if need be."""
    rng.shuffle(requests)
    asked: dict[Request, list[PromptRecord]] = {request: [] for request, _ in requests}
    prompts = []
    for request, held_out in islice(cycle(requests), count):
        there = asked[request]
        there.append(_new_prompt(rng, request, held_out, purpose, say.QUESTIONS, there))
        prompts.append(there[-1])
    return prompts


def _evaluation_prompts(
    rng: random.Random, purpose: Purpose
) -> tuple[list[PromptRecord], list[PromptRecord]]:
    red_team: list[PromptRecord] = []
    helpful: list[PromptRecord] = []
    for held_out in (False, True):
        requests = [
            request
            for request in requests_for(purpose, held_out=held_out)
            if not (held_out and was_read_as_another(request))
        ]
        phrasings = say.QUESTIONS + (say.HELD_OUT_QUESTIONS * 2 if held_out else ())
        benign = [r for r in requests if r.harm is None]
        for kind in KINDS:
            of_kind = [r for r in requests if r.harm == kind]
            rng.shuffle(of_kind)
            for request in islice(cycle(of_kind), EVALUATION_PROMPTS):
                prompt = _new_prompt(rng, request, held_out, purpose, phrasings, red_team)
                red_team.append(prompt)
                twin = _twin(rng, request, benign)
                helpful.append(_new_prompt(rng, twin, held_out, purpose, phrasings, helpful))
    return red_team, helpful


def _twin(rng: random.Random, request: Request, benign: list[Request]) -> Request:
    """A harmless request that shares as many words as can be with the harmful one."""

    def shared(other: Request) -> int:
        return (
            (other.action == request.action)
            + (other.thing == request.thing)
            + (other.owner == request.owner)
        )

    most = max(shared(other) for other in benign)
    return rng.choice([other for other in benign if shared(other) == most])


def _new_prompt(
    rng: random.Random,
    request: Request,
    held_out: bool,
    purpose: Purpose,
    phrasings: tuple[str, ...],
    there: list[PromptRecord],
) -> PromptRecord:
    """A prompt whose words are not among ``there`` yet."""
    taken = {record.conversation for record in there}
    while True:
        prompt = _prompt(rng, request, held_out, purpose, phrasings)
        if prompt.conversation not in taken:
            number = sum(record.id.startswith(prompt.id) for record in there)
            return prompt.model_copy(update={"id": f"{prompt.id}-{number}"})


def _prompt(
    rng: random.Random,
    request: Request,
    held_out: bool,
    purpose: Purpose,
    phrasings: tuple[str, ...],
) -> PromptRecord:
    phrasing = rng.choice(phrasings)
    two_turns = rng.random() < _TWO_TURNS
    conversation: Conversation
    if two_turns:
        conversation = say.ask_in_two_turns(request, rng.choice(say.OPENINGS), phrasing)
    else:
        conversation = say.ask(request, phrasing)
    tags = ["held_out" if held_out else "seen", request.harm or "harmless"]
    if two_turns:
        tags.append("two_turns")
    if phrasing in say.HELD_OUT_QUESTIONS:
        tags.append("new_phrasing")
    return PromptRecord(
        id=f"{purpose}-{request.action}-{request.owner}-{request.thing}".replace(" ", "_"),
        conversation=conversation,
        kind="red_team" if request.harm else "helpful",
        source="microworld",
        tags=tuple(tags),
    )
