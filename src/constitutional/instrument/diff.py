"""What another constitution would have made of a run's labels: cost first, then the difference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from constitutional.constitution import Constitution
from constitutional.errors import InputError
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.instrument.changes import ConstitutionChange, changes
from constitutional.instrument.cost import Cost, cost
from constitutional.instrument.labelled import LabelledRun, Labels, by_id
from constitutional.instrument.relabelling import (
    Asked,
    diff_folder,
    label_again,
    labelled_before,
    touched,
)
from constitutional.instrument.retraining import (
    Retraining,
    arms_trained_on,
    check_trained,
    retrain,
)
from constitutional.instrument.shifts import Moved, Shift, shift
from constitutional.runs import Progress, read_records
from constitutional.runs.folder import STAGES
from constitutional.runs.records import Chain
from constitutional.runs.stage import STAGE


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Revisions(_Record):
    """The run's revisions by a principle whose critique half changed or is gone.

    They are not made again: ``share`` says how much of the supervised stage another run would
    begin otherwise. Draws of the principles that stayed may move too; these are not counted here.
    """

    revisions: int
    by_changed: int
    share: Estimate | None
    principles: dict[str, int]


class Effect(_Record):
    """What the new constitution makes of the run's labels, by stage of labels."""

    shifts: tuple[Shift, ...]
    retraining: tuple[Retraining, ...]


@dataclass(frozen=True)
class Plan:
    """All that is known before anything is asked. ``asked`` has the touched comparisons."""

    run: LabelledRun
    new: Constitution
    file: str
    changes: ConstitutionChange
    asked: tuple[tuple[Labels, tuple[Asked, ...]], ...]
    costs: tuple[Cost, ...]
    revisions: Revisions | None

    @property
    def questions(self) -> int:
        """Questions to ask, over all stages of labels."""
        return sum(found.questions for found in self.costs)


def plan_diff(run: LabelledRun, old: str, new: str) -> Plan:
    """What labelling ``run`` by the file ``new`` takes; ``old`` is what it was labelled by.

    Raises InputError where ``old`` is another constitution than the run's.
    """
    before, after = run.read(old), run.read(new)
    if before.fingerprint != run.constitution.fingerprint:
        raise InputError(
            f"this is not the constitution that {run.path} was labelled by: give that one, which "
            f"lies there as constitution.yaml (two files of a recipe are merged in it)",
            path=old,
        )
    # the run's own texts: the file may hold what the run merged or took from elsewhere
    found = changes(run.constitution, after)
    asked = tuple((labels, tuple(touched(run, labels, after))) for labels in run.labels)
    return Plan(
        run=run,
        new=after,
        file=new,
        changes=found,
        asked=asked,
        costs=tuple(
            cost(run, labels, mine, labelled_before(run, labels, after)) for labels, mine in asked
        ),
        revisions=_revisions(run, found),
    )


def make_diff(plan: Plan, *, command: str, progress: Progress, retraining: bool = False) -> Effect:
    """Ask what is missing, in the folder beside the run, and say what differs.

    What was asked there before is not asked again. With ``retraining`` the preference models of
    the run are trained once more on the new labels. Raises InputError where it cannot be done.
    """
    run, shifts, trained = plan.run, [], []
    if retraining:
        check_trained(run)
    with diff_folder(run, plan.new, plan.file, command=command, progress=progress) as context:
        for labels, asked in plan.asked:
            items = [each.comparison for each in asked]
            again = by_id(label_again(context, run, labels, items)) if items else {}
            moved_by = {each.comparison.id: each.principles for each in asked}
            moved = [
                Moved(old, again.get(old.id, old), moved_by.get(old.id, frozenset()))
                for old in labels.comparisons
            ]
            shifts.append(shift(labels.stage, moved))
            if retraining:
                new = [each.new for each in moved]
                arms = arms_trained_on(context, labels)
                trained += [retrain(context, run, arm, labels, new) for arm in arms]
    return Effect(shifts=tuple(shifts), retraining=tuple(trained))


def _revisions(run: LabelledRun, found: ConstitutionChange) -> Revisions | None:
    """None where the run has no chains."""
    folder = run.path / STAGES / "critique_revision"
    if not (folder / STAGE).is_file():
        return None
    used = Counter(
        round_.principle for chain in read_records(folder, Chain) for round_ in chain.rounds
    )
    changed = found.touching("critique", "revision")
    mine = {name: count for name, count in sorted(used.items()) if name in changed}
    return Revisions(
        revisions=used.total(),
        by_changed=sum(mine.values()),
        share=proportion(sum(mine.values()), used.total()),
        principles=mine,
    )
