"""Everything in a run that its reader should be warned of, each in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from constitutional.reading.run import Run
from constitutional.report.arms import damage_sentence, flagged_monitors
from constitutional.report.names import plain, shown, stage_title
from constitutional.report.numbers import counted

_FINISHED = "all steps done"


class Warned(NamedTuple):
    """What it is about, and what is said."""

    about: str
    said: str


def warnings_of(run: Run, metrics: Mapping[str, Any]) -> list[Warned]:
    """All of them, in the order of the work; ``metrics`` are the run's, as far as there are any."""
    return [
        *_whole(run, metrics),
        *(Warned("inputs", plain(note)) for note in run.notes),
        *_set_aside(run),
        *_revisions(metrics),
        *_damage(metrics),
        *_too_long(run),
        *(warned for arm, entry in metrics.get("arms", {}).items() for warned in _arm(arm, entry)),
        *_answers(metrics),
        *_judges(metrics),
    ]


def _whole(run: Run, metrics: Mapping[str, Any]) -> Iterator[Warned]:
    if not run.finished:
        missing = "Elo and the preference models are measured when all stages are done"
        yield Warned("run", f"It is not finished, so figures are of what there is: {missing}.")
    versions = {str(one.versions) for one in run.manifest.resumed} | {str(run.manifest.versions)}
    if len(versions) > 1:
        yield Warned("run", "It was resumed with other versions of Python or of a library.")
    if run.finished and not _judged(metrics):
        yield Warned("evaluation", "The recipe names no judge: answers are kept, no harm measured.")


def _judged(metrics: Mapping[str, Any]) -> bool:
    measured = any({"held_out", "seen"} & set(found) for found in metrics["policies"].values())
    return measured or "revision_rounds" in metrics


def _set_aside(run: Run) -> Iterator[Warned]:
    for path in sorted(run.path.glob("skipped-*.jsonl")):
        lines = counted(path.read_bytes().count(b"\n"), "malformed line")
        yield Warned("inputs", f"{lines} of the prompts set aside in {path.name}.")


def _revisions(metrics: Mapping[str, Any]) -> Iterator[Warned]:
    counts = metrics.get("revisions") or {}
    if counts.get("left_out"):
        of = counted(counts["revisions"], "revision")
        yield Warned(
            "critique and revision",
            f"{counts['left_out']:,} of {of} left out of training for their form.",
        )


def _damage(metrics: Mapping[str, Any]) -> Iterator[Warned]:
    if said := damage_sentence(metrics):
        yield Warned("critique and revision", said)


def _too_long(run: Run) -> Iterator[Warned]:
    """What trainings left out, as their reports tell."""
    for stage in run.stages:
        report = run.training_report(stage.name)
        for key, what in (("too_long", "too long"), ("unlabelled", "without a label")):
            if number := report.get(key):
                yield Warned(
                    stage_title(stage.name), f"{counted(number, 'text')} left out: {what}."
                )


def _arm(arm: str, entry: Mapping[str, Any]) -> Iterator[Warned]:
    labels = entry.get("labels") or {}
    about = f"{shown(arm)}, labels"
    if said := (labels.get("contrast") or {}).get("warning"):
        yield Warned(about, plain(said))
    account = labels.get("account") or {}
    if number := account.get("unreadable"):
        yield Warned(about, f"{counted(number, 'comparison')} could not be read: left out.")
    if number := account.get("not_asked"):
        yield Warned(
            about, f"{counted(number, 'comparison')} without a usable pair: not asked about."
        )
    if number := account.get("refusals"):
        yield Warned(about, f"{counted(number, 'reading')} refused by the feedback model.")
    training = entry.get("training") or {}
    if training.get("ended") not in (None, _FINISHED, "not yet"):
        yield Warned(f"{shown(arm)}, training", f"It was stopped: {plain(training['ended'])}.")
    for said in flagged_monitors(entry.get("along") or ()):
        yield Warned(f"{shown(arm)}, monitors", f"{said[0].upper()}{said[1:]}.")


def _answers(metrics: Mapping[str, Any]) -> Iterator[Warned]:
    for policy, found in metrics.get("policies", {}).items():
        flagged = found.get("flagged")
        if flagged and flagged["value"]:
            number = round(flagged["value"] * flagged["n"])
            yield Warned(
                f"{shown(policy)}, answers",
                f"{number:,} of {flagged['n']:,} are broken in form (empty, looped, cut off).",
            )


def _judges(metrics: Mapping[str, Any]) -> Iterator[Warned]:
    found = metrics.get("ai_judge") or {}
    for goal in found.get("elo", {}):
        if number := found[goal]["unreadable"]:
            said = f"{counted(number, 'pairing')} could not be read: in no rating."
            yield Warned(f"AI judge of {goal}", said)
    for policy, mean in ((metrics.get("harm_score") or {}).get("policies") or {}).items():
        if number := mean["too_long"]:
            said = f"{counted(number, 'answer')} too long for the harm score."
            yield Warned(f"{shown(policy)}, harm score", said)
