"""Labels of a run by another constitution: only what that constitution asks anew is asked.

A pair draws its principles by seed over the list of principles (``feedback/drawing.py``), so the
questions of both constitutions are known before anything is asked. Where a text changes, the
questions of those pairs that drew it are new. Where a principle comes, goes or changes its weight,
the shares of those behind it move, and so do the draws of some pairs that never met it: these are
asked anew as well, for a run of the new constitution would ask them, and are counted.

What was asked already is taken from the run, and what is asked here is kept in a folder beside it::

    RUN/diffs/FINGERPRINT/       a run folder of the new constitution (first 16 digits)
        stages/comparisons_ai/   the comparisons that differ in what they are asked, labelled anew
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from constitutional.constitution import Constitution
from constitutional.constitution.files import dump_constitution
from constitutional.engines.pool import Engines
from constitutional.errors import InputError
from constitutional.feedback import FeedbackConfig, FeedbackModel
from constitutional.feedback.drawing import Asking, Drawing, dealt_out
from constitutional.feedback.label import Known
from constitutional.inputs import load_inputs
from constitutional.instrument.labelled import LabelledRun, Labels, pair_of
from constitutional.pipeline import execution_of
from constitutional.recipe.reading import from_here
from constitutional.runs import Progress, RunFolder
from constitutional.runs.folder import CONSTITUTION, STAGES
from constitutional.runs.journal import count_records
from constitutional.runs.records import Comparison
from constitutional.stages.comparisons import feedback_model
from constitutional.stages.context import Context

#: Beside the stages of a run: what other constitutions would have made of its labels.
DIFFS = "diffs"


@dataclass(frozen=True)
class Asked:
    """What two constitutions ask of one pair. ``missing`` are questions without readings.

    ``sampled``: whether readings depend on a seed, see :meth:`Asking.decided_by`.
    """

    comparison: Comparison
    before: tuple[Asking, ...]
    after: tuple[Asking, ...]
    missing: tuple[Asking, ...]
    sampled: bool

    @property
    def touched(self) -> bool:
        """Whether its record would be another one: other questions, or other ids of principles."""
        return bool(self.missing) or _names(self.before) != _names(self.after)

    @property
    def principles(self) -> frozenset[str]:
        """The principles that moved it: newly asked, asked otherwise, or asked no more."""
        before, after = self._questions(self.before), self._questions(self.after)
        return frozenset(name for name in {*before, *after} if before.get(name) != after.get(name))

    def _questions(self, askings: Sequence[Asking]) -> Mapping[str, list[object]]:
        """What each principle asks of the pair."""
        found: dict[str, list[object]] = {}
        for asking in askings:
            what = asking.decided_by(sampled=self.sampled)
            found.setdefault(asking.principle.id, []).append(what)
        return found


class Both:
    """The questions of two constitutions, under one setting and one seed."""

    def __init__(self, old: Constitution, new: Constitution, config: FeedbackConfig, seed: int):
        self._before = Drawing(old, config, seed)
        self._after = Drawing(new, config, seed)
        self._config = config

    def asked(self, comparison: Comparison) -> Asked:
        """What both ask of a comparison's pair."""
        pair = pair_of(comparison)
        before, after = self._before.askings(pair), self._after.askings(pair)
        sampled = self._config.cot or any(reading.votes for reading in comparison.readings)
        there = {asking.decided_by(sampled=sampled) for asking in before}
        missing = [a for a in after if a.decided_by(sampled=sampled) not in there]
        return Asked(comparison, tuple(before), tuple(after), tuple(missing), sampled)

    def known(self, comparison: Comparison, *, sampled: bool) -> Known:
        """A comparison's readings by what decides them. Raises InputError for a strange record."""
        before = self._before.askings(pair_of(comparison))
        try:
            dealt = dealt_out(before, comparison.readings, self._config.votes)
        except ValueError as error:
            raise InputError(
                f"{error}: the run was labelled by another version or other settings, and its "
                "answers cannot be used again"
            ) from None
        return {
            asking.decided_by(sampled=sampled): readings
            for asking, readings in zip(before, dealt, strict=True)
        }


@dataclass(frozen=True)
class Relabelling:
    """Comparisons labelled by ``new``, with the readings by ``old`` where both ask the same.

    ``feedback_model`` is the name of an engine.
    """

    feedback_model: str
    old: Constitution
    new: Constitution
    feedback: FeedbackConfig
    seed: int

    def __call__(self, block: Sequence[Comparison], engines: Engines) -> list[Comparison]:
        """One comparison for each, in order."""
        model = FeedbackModel(engines[self.feedback_model], self.new, self.feedback, self.seed)
        both = Both(self.old, self.new, self.feedback, self.seed)
        known = [both.known(comparison, sampled=model.sampled) for comparison in block]
        return model.label([pair_of(comparison) for comparison in block], known=known)


def touched(run: LabelledRun, labels: Labels, new: Constitution) -> Iterator[Asked]:
    """The comparisons whose record would be another one under ``new``, in order."""
    both = Both(run.constitution, new, labels.config, run.recipe.seed)
    return (asked for asked in map(both.asked, labels.comparisons) if asked.touched)


def labelled_before(run: LabelledRun, labels: Labels, new: Constitution) -> int:
    """How many of the touched comparisons, from the first on, an earlier call has labelled."""
    folder = _folder(run, new) / STAGES / labels.stage
    return count_records(folder) if folder.is_dir() else 0


def _folder(run: LabelledRun, new: Constitution) -> Path:
    return run.path / DIFFS / new.fingerprint[:16]


@contextmanager
def diff_folder(
    run: LabelledRun, new: Constitution, file: str, *, command: str, progress: Progress
) -> Iterator[Context]:
    """The folder beside the run in which it is labelled by ``new``, which was read from ``file``.

    All inputs are read and checked as for a run of the recipe with that constitution.
    """
    recipe = run.recipe.model_copy(update={"constitution": (from_here(file),)})
    inputs = load_inputs(recipe, run.manifest.recipe_folder)
    recipe = recipe.model_copy(update={"constitution": (CONSTITUTION,), "few_shots": ()})
    with RunFolder.open(
        _folder(run, new),
        recipe.model_dump(mode="json"),
        command=command,
        inputs=inputs.hashes,
        free_keys=recipe.free_keys,
    ) as folder:
        folder.write_text(CONSTITUTION, dump_constitution(new))
        with closing(execution_of(recipe)) as execution:
            yield Context(recipe, inputs, folder, progress, execution)


def label_again(
    context: Context, run: LabelledRun, labels: Labels, items: Sequence[Comparison]
) -> Sequence[Comparison]:
    """The ``items`` of the run labelled by the context's constitution, with the run's engine.

    Raises InputError where the feedback model is not the one that labelled the run.
    """
    work = Relabelling(
        feedback_model=feedback_model(context, labels.config),
        old=run.constitution,
        new=context.constitution,
        feedback=labels.config,
        seed=context.recipe.seed,
    )
    _same_engine(context, labels, work.feedback_model)
    return context.records(
        labels.stage,
        made_from=context.made_from(
            [labels.config],
            work.feedback_model,
            constitution=work.new.fingerprint,
            before=work.old.fingerprint,
        ),
        record_type=Comparison,
        items=items,
        work=work,
        title="AI feedback by the new constitution",
    )


def _same_engine(context: Context, labels: Labels, name: str) -> None:
    if labels.state.inputs.get("engine") != context.engines.fingerprint(name):
        raise InputError(
            f"{name} is not the feedback model that labelled the run (its weights, tokenizer or "
            "settings differ), so old and new labels cannot be compared: restore it"
        )


def _names(askings: Sequence[Asking]) -> list[str]:
    return [asking.principle.id for asking in askings]
