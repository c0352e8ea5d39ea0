"""The attribution of what a run's policies do: which of its records stand between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from constitutional.errors import InputError, nearest
from constitutional.instrument.attribution import (
    AnswerAttribution,
    Attribution,
    BehaviourReader,
    attribute,
    attribute_answer,
)
from constitutional.reading.run import Run
from constitutional.reading.so_far import labels_of
from constitutional.runs.records import Answer, Chain, Comparison

_R = TypeVar("_R", Chain, Comparison)
#: The stages between nobody and a policy that the constitution has a part in.
_REVISIONS = "critique_revision"


def attribution_of(
    run: Run, policy: str | None = None, against: str | None = None, *, kinds: Sequence[str] = ()
) -> Attribution:
    """Which principles made ``policy`` behave otherwise than ``against`` on red-team prompts.

    ``policy`` is by default the last that the constitution has a part in, ``against`` what it was
    made from: SL-CAI, or the helpful-only model that wrote the revisions. Where the run has no
    judge, answers to harmless prompts are not told from the others and count too. Raises InputError
    for policies that did not answer, and where no stage with principles lies between the two.
    """
    policy = policy or _default_policy(run)
    against = against or _made_from(run, policy)
    answers, before = _red_team(run, policy, kinds), _red_team(run, against, kinds)
    chains, comparisons = _between(run, policy, against)
    found = run.constitution
    return attribute(
        answers,
        before,
        reader_of(run),
        chains=chains,
        comparisons=comparisons,
        trained=(run.recipe.get("finetune") or {}).get("revisions", "all"),
        kinds=kinds,
        principles=[] if found is None else [p.id for p in found.principles],
    )


def answer_attribution_of(
    run: Run, answer: str, policy: str | None = None, *, kinds: Sequence[str] = ()
) -> AnswerAttribution:
    """The training examples nearest to a policy's answer to the prompt with the id ``answer``.

    ``kinds`` keeps examples with one of these tags.
    """
    policy = policy or _default_policy(run)
    answers = {found.id: found for found in run.answers(policy)}
    if answer not in answers:
        raise InputError(
            f"{policy} answered no prompt with the id {answer!r}: {nearest(answer, answers)}"
        )
    chains, comparisons = _between(run, policy, None)
    return attribute_answer(
        answers[answer],
        reader_of(run),
        chains=_kept(chains, kinds),
        comparisons=_kept(comparisons, kinds),
    )


def reader_of(run: Run) -> BehaviourReader:
    """Who reads the answers of this run: its judge, or their wording."""
    name = (run.recipe.get("evaluation") or {}).get("judge")
    if name is None:
        return BehaviourReader(None)
    # with it comes what reads models and prompts
    from constitutional.inputs.reading import judge_called

    return BehaviourReader(judge_called(name))


def _default_policy(run: Run) -> str:
    found = [p for p in run.policies if "@" not in p and any(_stages_of(run, p))]
    if not found:
        raise InputError(f"{run.path} has no answers of a policy made by principles yet")
    return found[-1]


def _made_from(run: Run, policy: str) -> str:
    revised, labelled = _stages_of(run, policy)
    return "sl_cai" if revised and labelled else "helpful"


def _stages_of(run: Run, policy: str) -> tuple[str | None, str | None]:
    """The stages with the revisions and with the labels that a policy learned from."""
    arm = policy.partition("@")[0]
    labelled = labels_of(run, arm) if arm in run.arms else None
    learned = arm == "sl_cai" or labelled is not None
    return (_REVISIONS if learned and run.chains else None), labelled


def _between(
    run: Run, policy: str, against: str | None
) -> tuple[Sequence[Chain] | None, Sequence[Comparison] | None]:
    """The records that one policy learned from and the other did not."""
    revised, labelled = _stages_of(run, policy)
    others = (None, None) if against is None else _stages_of(run, against)
    chains = run.chains if revised not in (None, others[0]) else None
    comparisons = None
    if labelled not in (None, others[1]):
        comparisons = run.comparisons.parts.get(labelled or "", ())
    if chains is None and comparisons is None:
        compared = "" if against is None else f" that {against} did not learn from"
        raise InputError(f"{policy} learned from no revisions and no AI labels{compared}")
    return chains, comparisons


def _red_team(run: Run, policy: str, kinds: Sequence[str]) -> list[Answer]:
    """Refuses a kind that no prompt is tagged with."""
    asked = [a for a in run.answers(policy) if a.verdict is None or a.verdict.harmful_request]
    tags = {tag for answer in asked for tag in answer.tags}
    for kind in kinds:
        if asked and kind not in tags:
            raise InputError(
                f"no red-team prompt is tagged {kind!r}: {nearest(kind, sorted(tags))}"
            )
    return asked


def _kept(records: Sequence[_R] | None, kinds: Sequence[str]) -> Sequence[_R] | None:
    if records is None or not kinds:
        return records
    return [record for record in records if not set(record.tags).isdisjoint(kinds)]
