"""One run, by the path of its folder. Nothing is read before it is asked for, nothing written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import BaseModel

from constitutional.constitution import Constitution, load_constitution
from constitutional.errors import ConstitutionFileError, InputError, nearest
from constitutional.reading.order import in_order_of_work, policy_of, stage_of
from constitutional.reading.rows import answer_rows, chain_rows, reply_rows
from constitutional.reading.table import Comparisons, Table
from constitutional.reading.training import (
    REPORT,
    Training,
    losses_so_far,
    read_json,
    read_training,
    snapshot_folders,
)
from constitutional.recipe import read_constitution, resource
from constitutional.runs import Manifest, Records, read_records
from constitutional.runs.folder import CONSTITUTION, METRICS, NOTES, STAGES
from constitutional.runs.journal import BLOCKS, RECORDS, count_records
from constitutional.runs.manifest import read_run
from constitutional.runs.records import Answer, Chain, Comparison, Reply
from constitutional.runs.stage import STAGE, StageState, read_state
from constitutional.runs.usage import USAGE

_COMPARISONS = (
    *("comparisons_ai", "comparisons_ai_cot"),
    *("comparisons_helpfulness", "comparisons_harmlessness", "comparisons_human"),
)

_REPORTS = ("finetune.json", "preference_training.json", "harm_training.json", REPORT)

if TYPE_CHECKING:
    from constitutional.report.notebook import RunFigures

R = TypeVar("R", bound=BaseModel)


class StageView(NamedTuple):
    """A stage so far. ``records`` is None for one that makes files, such as a model."""

    name: str
    state: StageState
    records: int | None


class Run:
    """A run's folder, to be looked at.

    Raises RunFolderError where ``path`` is no run. What a run in progress has not made yet is
    empty; whoever wants news asks again.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).resolve()
        self.manifest: Manifest
        #: The resolved recipe as plain data.
        self.recipe: Mapping[str, Any]
        self.manifest, self.recipe = read_run(self.path)
        self._read: dict[str, tuple[object, Records[Any]]] = {}

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The recipe's name and the seed, such as ``demo-0``."""
        return f"{self.recipe.get('name', self.path.name)}-{self.recipe.get('seed', 0)}"

    @property
    def finished(self) -> bool:
        """Whether all stages are done and measured."""
        return (self.path / METRICS).is_file()

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What ``metrics.json`` holds (``docs/metrics.md``); empty before the run is finished."""
        found: Mapping[str, Any] = read_json(self.path / METRICS) or {}
        return found

    @property
    def stages(self) -> tuple[StageView, ...]:
        """The stages that were begun, in the paper's order."""
        names = (path.parent.name for path in (self.path / STAGES).glob(f"*/{STAGE}"))
        return tuple(self._stage(name) for name in in_order_of_work(names, self.arms))

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds of each stage so far, over all sessions."""
        return {stage.name: stage.state.seconds for stage in self.stages}

    @property
    def constitution(self) -> Constitution | None:
        """The constitution of the run; None without one.

        A run of an earlier version did not keep it. It is then read from the recipe's files, and is
        None where these are gone or have changed.
        """
        kept = self.path / CONSTITUTION
        if kept.is_file():
            return load_constitution(kept)
        files, few_shots = self.recipe.get("constitution", ()), self.recipe.get("few_shots", ())
        try:
            found = read_constitution(files, few_shots, self.manifest.recipe_folder)
        except ConstitutionFileError:
            return None
        fingerprint = self.manifest.inputs.get("constitution")
        return found if found is not None and found.fingerprint == fingerprint else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user was told of the inputs when the run began."""
        return tuple(read_json(self.path / NOTES) or ())

    @property
    def usage(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """What servers were asked so far: by stage and engine, as ``metrics.json`` has it."""
        found: Mapping[str, Mapping[str, Mapping[str, Any]]] = read_json(self.path / USAGE) or {}
        return found

    @property
    def arms(self) -> tuple[str, ...]:
        """The policies that RL makes, as the recipe names them; none without an RL stage."""
        return tuple((self.recipe.get("rl") or {}).get("arms", ()))

    @property
    def policies(self) -> tuple[str, ...]:
        """Who answered evaluation prompts so far; a snapshot is ``rl_cai@12``."""
        found = (policy_of(stage.name) for stage in self.stages)
        return tuple(policy for policy in found if policy is not None)

    @property
    def chains(self) -> Table[Chain]:
        """Each red-team prompt with its response, critiques and revisions."""
        return Table(self._records(Chain, "critique_revision"), chain_rows)

    @property
    def replies(self) -> Table[Reply]:
        """The helpful model's responses to helpful prompts."""
        return Table(self._records(Reply, "helpful_replies"), reply_rows)

    @property
    def comparisons(self) -> Comparisons:
        """All comparisons that the run made; ``.ai`` and ``.human`` are parts of them."""
        return Comparisons(self._records(Comparison, *_COMPARISONS))

    def answers(self, *policies: str) -> Table[Answer]:
        """The answers of these policies to the evaluation prompts, of all without any name."""
        for name in policies:
            if name not in self.policies:
                raise InputError(
                    f"{self.path} has no answers of {name!r}: {nearest(name, self.policies)}"
                )
        stages = map(stage_of, policies or self.policies)
        return Table(self._records(Answer, *stages), answer_rows)

    def training(self, arm: str) -> Training | None:
        """What the training of an arm did so far; None before it begins."""
        if arm not in self.arms:
            raise InputError(f"{self.path} has no arm {arm!r}: {nearest(arm, self.arms)}")
        return read_training(self.path / STAGES / arm, arm, self.recipe.get("rl") or {})

    def training_report(self, stage: str) -> Mapping[str, Any]:
        """What the training of a stage wrote of itself; empty before its end."""
        for name in _REPORTS:
            report: Mapping[str, Any] | None = read_json(
                self.path / STAGES / stage / "result" / name
            )
            if report is not None:
                return report
        return {}

    def losses(self, stage: str) -> list[tuple[int, float]]:
        """Step and loss of a finetuning or of a preference model; to its last checkpoint so far."""
        report = self.training_report(stage)
        if "losses" not in report:
            return losses_so_far(self.path / STAGES / stage / "work")
        return [(step, loss) for step, loss in report["losses"]]

    @property
    def figures(self) -> RunFigures:
        """The figures that its numbers allow so far, such as ``figures["elo"]``."""
        from constitutional.report.notebook import figures_of

        return figures_of(self)

    def _repr_html_(self) -> str:
        """Its policies with their numbers, where a notebook shows it."""
        from constitutional.report.notebook import card_of

        return card_of(self)

    @property
    def models(self) -> dict[str, str]:
        """The model of each policy so far: a folder, or a hub name; snapshots are among them."""
        base, named = self.manifest.recipe_folder, self.recipe.get("models") or {}
        found = {
            policy: resource(named[policy], base)
            for policy in ("pretrained", "helpful")
            if isinstance(named.get(policy), str)
        }
        for name in ("sft", "sl_cai", *self.arms):
            stage = self.path / STAGES / name
            training = self.training(name) if name in self.arms else None
            for step, snapshot in snapshot_folders(stage).items() if training else ():
                if training is None or training.ended is None or step < training.steps:
                    found[f"{name}@{step}"] = str(snapshot)
            if (stage / "result").is_dir():
                found[name] = str(stage / "result")
        return found

    def _stage(self, name: str) -> StageView:
        folder = self.path / STAGES / name
        state = read_state(folder)
        return StageView(name, state, count_records(folder) if state.kind == "records" else None)

    def _records(self, record_type: type[R], *stages: str) -> dict[str, Records[R]]:
        """The records of the stages that were begun."""
        folders = {name: self.path / STAGES / name for name in stages}
        return {
            name: self._verified(folder, record_type)
            for name, folder in folders.items()
            if (folder / BLOCKS).is_file() and (folder / RECORDS).is_file()
        }

    def _verified(self, folder: Path, record_type: type[R]) -> Records[R]:
        """The verified records of a stage; hashed again only where a block was added."""
        stat = (folder / BLOCKS).stat()
        mark = (stat.st_size, stat.st_mtime_ns)
        kept = self._read.get(folder.name)
        if kept is None or kept[0] != mark:
            kept = self._read[folder.name] = (mark, read_records(folder, record_type))
        return kept[1]
