"""What each principle's revisions did to the answers they were made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from sys import intern
from typing import Literal, NamedTuple

from constitutional.dialogue import prompt_id
from constitutional.evaluation.behaviour import HELD_OUT, SEEN
from constitutional.evaluation.intervals import Estimate
from constitutional.evaluation.monitors import Hits, clustered_share
from constitutional.instrument.attribution.behaviours import BehaviourReader, Deed
from constitutional.instrument.attribution.contrast import Case, push
from constitutional.instrument.attribution.records import RevisionPush
from constitutional.runs.records import Chain

EXAMPLES = 3
#: Which revisions of a chain are trained on, as ``finetune.revisions`` says.
Trained = Literal["all", "last"]


class Step(NamedTuple):
    """One round: whether the answer before and after has the behaviour; None: it is not usable."""

    principle: str
    before: bool
    after: bool | None
    changed: bool


class Path(NamedTuple):
    """A chain as a way of steps. ``prompt`` is the id of its text, which other chains may share."""

    id: str
    prompt: str
    about: tuple[str, ...]
    steps: tuple[Step, ...]


def paths(
    chains: Iterable[Chain], behaviour: Collection[Deed], reader: BehaviourReader
) -> list[Path]:
    """The chains as steps, each read once; a broken revision is not built upon, as in the stage."""
    return [
        Path(
            chain.id,
            prompt_id(chain.prompt),
            about(chain.tags),
            tuple(_steps(chain, behaviour, reader)),
        )
        for chain in chains
        if chain.rounds
    ]


def about(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags that say what a prompt is about."""
    return tuple(sorted({*tags} - {SEEN, HELD_OUT}))


def _steps(chain: Chain, behaviour: Collection[Deed], reader: BehaviourReader) -> Iterator[Step]:
    text = chain.response.text
    has = reader.read(chain.prompt, text) in behaviour
    for round_ in chain.rounds:
        revision, principle = round_.revision, intern(round_.principle)
        if not revision.usable:
            yield Step(principle, has, None, changed=False)
            continue
        changed = revision.text != text
        after = reader.read(chain.prompt, revision.text) in behaviour if changed else has
        yield Step(principle, has, after, changed)
        text, has = revision.text, after


def revision_push(ways: Sequence[Path], principle: str, trained: Trained) -> RevisionPush:
    """The account of one principle."""
    made = [(way.prompt, s) for way in ways for s in way.steps if s.principle == principle]
    usable = [(prompt, step) for prompt, step in made if step.after is not None]
    could = [(prompt, bool(step.after)) for prompt, step in usable if not step.before]
    had = [(prompt, not step.after) for prompt, step in usable if step.before]
    turned = (
        way.id
        for way in ways
        if any(s.principle == principle and s.after and not s.before for s in way.steps)
    )
    pushed = push(case for way in ways for case in _cases(way, principle, trained))
    return RevisionPush(
        revisions=len(usable),
        unusable=len(made) - len(usable),
        changed=share_by_prompt((prompt, step.changed) for prompt, step in usable),
        could=len(could),
        turned=sum(turned for _, turned in could),
        towards=share_by_prompt(could),
        had=len(had),
        lost=sum(lost for _, lost in had),
        away=share_by_prompt(had),
        push=pushed.estimate,
        unknown=pushed.unknown,
        examples=tuple(islice(turned, EXAMPLES)),
    )


def _cases(way: Path, principle: str, trained: Trained) -> Iterator[Case]:
    """The examples of a chain, and what they show where the principle had no part in them."""
    usable = [number for number, step in enumerate(way.steps) if step.after is not None]
    for number in usable if trained == "all" else usable[-1:]:
        shows = float(bool(way.steps[number].after))
        touched = any(step.principle == principle for step in way.steps[: number + 1])
        # revisions of one round are like each other, those of the last are all of one sort
        place = (str(number),) if trained == "all" else ()
        yield Case(way.prompt, (*way.about, *place), shows, None if touched else shows)


def share_by_prompt(cases: Iterable[tuple[str, bool]]) -> Estimate | None:
    """The share of cases that hold, clustered by prompt; None of none."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for prompt, holds in cases:
        groups[prompt].append(holds)
    if not groups:
        return None
    return clustered_share([Hits(sum(found), len(found)) for found in groups.values()])
