"""``cai constitution diff`` and ``lint`` on real runs of the microworld, with real models."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from labelled_runs import make_run

from constitutional.constitution import load_constitution
from constitutional.constitution.files import dump_constitution
from constitutional.engines import load_engine
from constitutional.errors import InputError
from constitutional.execution.here import Here
from constitutional.feedback import FeedbackModel
from constitutional.instrument.diff import Plan, make_diff, plan_diff
from constitutional.instrument.labelled import labelled_run, pair_of
from constitutional.instrument.relabelling import diff_folder, label_again
from constitutional.microworld import data_file
from constitutional.runs import Blocks, QuietProgress, read_records
from constitutional.runs.records import Comparison

Cai = Callable[..., tuple[int, str, str]]
QUIET = QuietProgress()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (data_file("constitution.yaml").parent / "pretrained").is_dir(),
        reason="the embedded model is not built (microworld/data/pretrained)",
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 comparisons by one principle each, in both orders."""
    return make_run(tmp_path_factory.mktemp("plain"), train=True)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The constitution with one general principle that speaks of intrusion instead."""
    text = data_file("constitution.yaml").read_text()
    path = tmp_path / "changed.yaml"
    path.write_text(text.replace("with anything harmful.", "with anything intrusive.", 1))
    return path


def planned(run: Path, new: Path) -> Plan:
    return plan_diff(labelled_run(run), str(run / "constitution.yaml"), str(new))


def everything(plan: Plan, stage: int = 0) -> list[Comparison]:
    """All comparisons of a stage labelled by the new constitution, without any diff."""
    labels = plan.run.labels[stage]
    engine = load_engine(data_file("helpful" if labels.config.cot else "pretrained"))
    model = FeedbackModel(engine, plan.new, labels.config, plan.run.recipe.seed)
    return model.label([pair_of(comparison) for comparison in labels.comparisons])


def relabelled(run: Path, plan: Plan, stage: int = 0) -> list[Comparison]:
    """What the diff has: the comparisons it labelled, and the run's own where it did not."""
    labels = plan.run.labels[stage]
    folder = run / "diffs" / plan.new.fingerprint[:16] / "stages" / labels.stage
    again = {c.id: c for c in read_records(folder, Comparison)}
    return [again.get(c.id, c) for c in labels.comparisons]


def same(found: Sequence[Comparison], expected: Sequence[Comparison]) -> None:
    """Equal but for rounding: what stands beside a question in a batch moves its last digits."""
    for one, other in zip(found, expected, strict=True):
        assert one.id == other.id
        assert [(r.principle, r.order) for r in one.readings] == [
            (r.principle, r.order) for r in other.readings
        ]
        if other.prob_a is None:
            assert one.prob_a is None
        else:
            assert one.prob_a == pytest.approx(other.prob_a, abs=1e-5)


def flips(old: Sequence[Comparison], new: Sequence[Comparison]) -> set[str]:
    sides = ((a.id, a.prob_a or 0.5, b.prob_a or 0.5) for a, b in zip(old, new, strict=True))
    return {name for name, p, q in sides if (p - 0.5) * (q - 0.5) < 0}


def test_the_diff_is_what_labelling_everything_gives(run: Path, changed: Path) -> None:
    plan = planned(run, changed)
    drew = [c for c in plan.run.labels[0].comparisons if c.readings and
            c.readings[0].principle == "no-harm"]  # fmt: skip
    (cost,) = plan.costs
    assert cost.comparisons == len(drew) < 30
    assert cost.questions + cost.kept == 2 * len(drew)
    assert cost.of_questions == sum(len(c.readings) for c in plan.run.labels[0].comparisons)
    assert cost.by_principle == {"no-harm": len(drew)}

    effect = make_diff(plan, command="", progress=QUIET)
    old, anew = list(plan.run.labels[0].comparisons), everything(plan)
    same(relabelled(run, plan), anew)
    (found,) = effect.shifts
    assert {flip.id for flip in found.flips} == flips(old, anew)
    assert {flip.principles for flip in found.flips} <= {("no-harm",)}
    assert found.labelled_again == len(drew)
    size = sum(abs((a.prob_a or 0) - (b.prob_a or 0)) for a, b in zip(old, anew, strict=True))
    assert found.principles[0].size is not None
    assert found.principles[0].size.value == pytest.approx(size / len(drew), abs=1e-4)
    assert found.principles[0].size.value > 0.1, "the new principle means something else"
    assert plan.revisions is not None
    assert plan.revisions.revisions == 16


def test_a_kill_keeps_what_was_asked(run: Path, tmp_path: Path) -> None:
    """Stopped after the first block of eight; the rest is asked, and the first block is not."""
    principles = load_constitution(run / "constitution.yaml")
    new = principles.model_copy(update={"principles": principles.principles[1:]})
    path = tmp_path / "shorter.yaml"
    path.write_text(dump_constitution(new))
    plan = planned(run, path)
    (labels, asked), (cost,) = plan.asked[0], plan.costs
    assert len(asked) > 8
    items = [each.comparison for each in asked]

    class Stopped(Here):
        def make(self, work: Any, engines: Any, blocks: Blocks[Any, Any]) -> Generator[Any]:
            made = super().make(work, engines, blocks)
            yield next(made)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), diff_folder(
        plan.run, plan.new, plan.file, command="", progress=QUIET
    ) as context:  # fmt: skip
        context.execution = Stopped()
        label_again(context, plan.run, labels, items)

    later = planned(run, path)
    assert later.costs[0].kept == sum(len(each.missing) for each in asked[:8]) > 0
    assert later.costs[0].questions == cost.questions - later.costs[0].kept
    make_diff(later, command="", progress=QUIET)
    same(relabelled(run, later), everything(later))
    assert planned(run, path).questions == 0


def test_thoughts_by_the_helpful_model(tmp_path: Path, changed: Path) -> None:
    """Thoughts that were written are used again; those that are new are the ones of a whole run."""
    run = make_run(tmp_path, comparisons=24, arms=["rl_cai", "rl_cai_cot"])
    plan = planned(run, changed)
    plain, cot = plan.costs
    assert [plain.stage, cot.stage] == ["comparisons_ai", "comparisons_ai_cot"]
    assert 0 < cot.questions < cot.of_questions
    assert cot.new_tokens is not None
    assert cot.new_tokens > 0
    effect = make_diff(plan, command="", progress=QUIET)
    for stage in (0, 1):
        anew = everything(plan, stage)
        same(relabelled(run, plan, stage), anew)
        old = plan.run.labels[stage].comparisons
        assert {flip.id for flip in effect.shifts[stage].flips} == flips(old, anew)
    thoughts = [
        [r.reasoning.text for c in made for r in c.readings if r.reasoning]
        for made in (relabelled(run, plan, 1), everything(plan, 1))
    ]
    assert thoughts[0] == thoughts[1]
    with pytest.raises(InputError, match="has no preference model of rl_cai yet"):
        make_diff(plan, command="", progress=QUIET, retraining=True)


def test_the_command(cai: Cai, run: Path, tmp_path: Path) -> None:
    old, new = run / "constitution.yaml", tmp_path / "new.yaml"
    text = data_file("constitution.yaml").read_text()
    new.write_text(text.replace("Answers must not be cruel.", "Answers must not be intrusive."))
    code, shown, _ = cai("constitution", "diff", old, new)
    assert code == 0
    assert "intrusive" in shown

    code, shown, _ = cai("constitution", "diff", old, new, "--on", run, "--json")
    said = json.loads(shown)
    assert (code, said["effect"]) == (0, None), "nobody agreed"
    assert said["costs"][0]["questions"] > said["costs"][0]["kept"] == 0
    assert not (run / "diffs" / said["changes"]["new_fingerprint"][:16]).exists()
    words = ("constitution", "diff", old, new, "--on", run, "--yes", "--retrain", "--json")
    code, shown, _ = cai(*words)
    effect = json.loads(shown)["effect"]
    assert code == 0
    assert [a["truth"] for a in effect["retraining"][0]["against"]] == ["old labels", "new labels"]
    for against in effect["retraining"][0]["against"]:
        assert against["difference"]["n"] == against["old"]["n"] > 5
        assert against["difference"]["low"] <= against["difference"]["value"]
    code, shown, told = cai(*words[:-1])
    assert code == 0
    assert "Preference model:" not in told, "it is trained once"
    assert "trained on new" in shown

    code, _, told = cai("constitution", "diff", new, old, "--on", run)
    assert (code, "constitution.yaml" in told) == (2, True)
    assert cai("constitution", "diff", old, new, "--retrain")[0] == 2


def test_lint_on_a_run(cai: Cai, run: Path, changed: Path) -> None:
    code, shown, _ = cai("constitution", "lint", run / "constitution.yaml", "--on", run, "--json")
    found = json.loads(shown)
    assert code == 0
    # by the oracle these speak of one kind of harm in five
    rare = {name for f in found if f["kind"] == "rarely tells" for name in f["principles"]}
    assert rare & {"illegal", "cruel", "dangerous", "dishonest", "intrusive", "not-evasive"}
    assert not rare & {"harmless", "avoid-harm", "answers-not-harmful"}
    assert all(f["estimate"]["n"] == f["n"] for f in found if f["kind"] == "rarely tells")
    assert any(f["kind"] == "not checked" and "opposing" in f["message"] for f in found)

    code, shown, _ = cai("constitution", "lint", changed, "--on", run, "--json")
    (strange,) = (f for f in json.loads(shown) if "no labels by it" in f["message"])
    assert strange["principles"] == ["no-harm"]
