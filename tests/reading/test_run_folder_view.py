"""A run's folder to look at, finished or in progress, from outside of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.web_runs import (
    HELP,
    add_records,
    answer,
    chain,
    comparison,
    recipe,
    write_history,
    write_run,
)

import constitutional
from constitutional.constitution import load_constitution
from constitutional.errors import InputError, MissingExtraError, RunFolderError
from constitutional.microworld import data_file
from constitutional.reading import Run
from constitutional.reading.order import in_order_of_work, policy_of, stage_of
from constitutional.reading.so_far import metrics_so_far
from constitutional.runs import RunFolder
from constitutional.runs.stage import Stage


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    human = comparison(50, goal="helpfulness", labeller="oracle", prob_a=1.0, id="human-0")
    write_run(
        folder,
        chains=[chain(number) for number in range(9)],
        comparisons={
            "comparisons_ai": [comparison(number) for number in range(6)],
            "comparisons_helpfulness": [human.model_copy(update={"readings": ()})],
        },
        answers={
            "rl_cai": [answer("rl_cai", 0)],
            "rl_cai-step-12": [answer("rl_cai@12", 0)],
            "rl_cai-step-4": [answer("rl_cai@4", 0)],
            "sl_cai": [answer("sl_cai", 0, HELP), answer("sl_cai", 1)],
        },
        metrics={"policies": {}},
    )
    return constitutional.Run(folder)


def test_records_are_read_as_they_were_written(run: Run) -> None:
    assert list(run.chains) == [chain(number) for number in range(9)]
    assert run.chains[-1] == chain(8)
    assert run.chains[2:4] == [chain(2), chain(3)]
    with pytest.raises(IndexError):
        run.chains[9]
    assert run.replies[:] == []
    assert not run.replies


def test_comparisons_are_those_of_all_stages(run: Run) -> None:
    assert [c.id for c in run.comparisons] == [*(f"pair-{n}" for n in range(6)), "human-0"]
    assert len(run.comparisons.ai) == 6
    assert [c.id for c in run.comparisons.human] == ["human-0"]
    assert run.comparisons[6].id == run.comparisons[-1].id == "human-0"


def test_answers_are_those_of_the_policies_that_are_named(run: Run) -> None:
    assert run.policies == ("sl_cai", "rl_cai@4", "rl_cai@12", "rl_cai")
    assert [a.policy for a in run.answers("rl_cai@12", "sl_cai")] == ["rl_cai@12", *["sl_cai"] * 2]
    assert len(run.answers()) == 5
    with pytest.raises(InputError, match="did you mean 'rl_cai'"):
        run.answers("rlcai")


def test_what_the_run_is(run: Run) -> None:
    assert (run.name, run.finished, run.arms) == ("small-3", True, ("rl_cai",))
    assert dict(run.recipe) == recipe()
    assert [stage.name for stage in run.stages] == [
        *("critique_revision", "comparisons_ai", "comparisons_helpfulness"),
        *("answers_sl_cai", "answers_rl_cai-step-4", "answers_rl_cai-step-12", "answers_rl_cai"),
    ]
    assert [stage.records for stage in run.stages] == [9, 6, 1, 2, 1, 1, 1]
    assert set(run.seconds) == {stage.name for stage in run.stages}
    constitution = run.constitution
    assert constitution is not None
    kept = load_constitution(data_file("constitution.yaml"))
    assert constitution.fingerprint == kept.fingerprint
    assert run.notes == () and run.usage == {}


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is no run folder: it has no run\.json"):
        Run(tmp_path)
    with pytest.raises(RunFolderError, match="is no run folder"):
        Run(tmp_path / "nowhere")


def test_a_stage_in_progress_gives_its_whole_blocks(tmp_path: Path) -> None:
    folder = write_run(tmp_path, chains=[chain(number) for number in range(10)])
    records = folder / "stages" / "critique_revision" / "records.jsonl"
    blocks = records.with_name("blocks.jsonl")
    whole = blocks.read_bytes()
    *first, _ = whole.splitlines(keepends=True)
    # a writer is in the middle of a block: its records are there, its line is half written
    blocks.write_bytes(b"".join(first) + b'{"block":2,"rec')
    run = Run(folder)
    assert [c.id for c in run.chains] == [f"chain-{number}" for number in range(8)]
    assert not run.finished
    assert run.metrics == {}
    blocks.write_bytes(whole)
    assert len(run.chains) == 10, "the same object sees what was added"


def test_reading_takes_no_lock_and_writes_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", chains=[chain(0)])
    with RunFolder.open(folder, recipe(), command="cai run") as owner:
        before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
        run = Run(folder)
        assert len(run.chains) == 1
        assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
        add_records(owner, "comparisons_ai", [comparison(0)])
        assert len(run.comparisons) == 1


def test_a_training_is_seen_while_it_runs(tmp_path: Path) -> None:
    folder = write_run(tmp_path, chains=[chain(0)])
    run = Run(folder)
    assert run.training("rl_cai") is None
    write_history(folder, 3)
    training = run.training("rl_cai")
    assert training is not None
    assert (training.steps, training.planned, training.ended) == (3, 8, None)
    assert [step["reward"] for step in training.history] == [0.25, 0.5, 0.75]
    history = folder / "stages" / "rl_cai" / "work" / "ppo" / "history.jsonl"
    with history.open("a") as file:
        file.write('{"step": 4, "rew')
    training = run.training("rl_cai")
    assert training is not None and training.steps == 3, "half a line is none"
    with pytest.raises(InputError, match="has no arm 'hh'"):
        run.training("hh")


def finish(folder: Path, stage: str, name: str, report: dict[str, Any]) -> Path:
    Stage(folder / "stages" / stage, "artifact").begin({"made": "by hand"})
    result = folder / "stages" / stage / "result"
    result.mkdir()
    (result / name).write_text(json.dumps(report))
    return result


def test_models_and_reports_of_trainings(tmp_path: Path) -> None:
    folder = write_run(tmp_path, chains=[chain(0)])
    sl_cai = finish(folder, "sl_cai", "finetune.json", {"losses": [[5, 0.5]], "too_long": 2})
    end = {"algorithm": "rloo", "ended": "all steps done", "history": [{"step": 8}], "steps": 8}
    rl_cai = finish(folder, "rl_cai", "training.json", end)
    for step in (4, 8):
        (rl_cai / "snapshots" / f"step-{step}").mkdir(parents=True)
    run = Run(folder)
    assert run.losses("sl_cai") == [(5, 0.5)]
    assert run.training_report("sl_cai")["too_long"] == 2
    assert run.losses("rl_cai") == run.losses("critique_revision") == []
    training = run.training("rl_cai")
    assert training is not None
    assert (training.algorithm, training.planned, training.ended) == (
        "rloo",
        None,
        "all steps done",
    )
    assert run.models == {
        "sl_cai": str(sl_cai),
        "rl_cai@4": str(rl_cai / "snapshots" / "step-4"),
        "rl_cai": str(rl_cai),
    }, "the last snapshot is the policy itself"


def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path, metrics={"policies": {}})
    (folder / "metrics.json").write_text('{"policies"')
    with pytest.raises(RunFolderError, match=r"metrics\.json is damaged"):
        Run(folder).metrics  # noqa: B018


def test_a_constitution_that_was_not_kept_is_read_again_or_unknown(tmp_path: Path) -> None:
    folder = write_run(tmp_path, metrics={})
    (folder / "constitution.yaml").unlink()
    assert Run(folder).constitution is None, "the run does not say which one it was"
    manifest = json.loads((folder / "run.json").read_text())
    known = load_constitution(data_file("constitution.yaml"))
    manifest["inputs"]["constitution"] = known.fingerprint
    (folder / "run.json").write_text(json.dumps(manifest))
    assert Run(folder).constitution == known


def test_metrics_so_far_are_those_of_the_records(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path,
        chains=[chain(number) for number in range(9)],
        comparisons={"comparisons_ai": [comparison(number) for number in range(4)]},
        answers={"sl_cai": [answer("sl_cai", number) for number in range(5)]},
    )
    found = metrics_so_far(Run(folder))
    assert found["policies"]["sl_cai"]["held_out"]["reasoned_refusal"]["n"] == 5
    assert found["revisions"]["revisions"] == 18
    labels = found["arms"]["rl_cai"]["labels"]
    assert labels["account"]["comparisons"] == 4
    assert labels["accuracy"] is None
    assert "elo" not in found
    (folder / "metrics.json").write_text('{"policies": {}}')
    assert metrics_so_far(Run(folder)) == {"policies": {}}


def test_data_frames(run: Run) -> None:
    frame = run.comparisons.to_pandas()
    assert len(frame) == 7
    first = frame.iloc[0]
    assert first["prob_a_ab"] == pytest.approx((0.1 + 0.15) / 2)
    assert first["prob_a_ba"] == pytest.approx((0.2 + 0.1) / 2)
    assert frame["labeller"].tolist() == ["scripted"] * 6 + ["oracle"]
    assert frame["prob_a_ab"].isna().tolist() == [False] * 6 + [True]
    versions = run.chains.to_pandas()
    assert len(versions) == 9 * 3
    assert versions["round"].tolist()[:3] == [0, 1, 2]
    assert versions["principle"].isna().tolist()[:3] == [True, False, False]
    assert set(versions[versions["round"] > 0]["critique"].str[:19]) == {"The response number"}
    frame = run.answers("sl_cai").to_pandas()
    assert frame["behaviour"].tolist() == ["reasoned_refusal"] * 2
    assert frame["prompt"].str.startswith("Human: Please tell me").all()


def test_without_pandas_one_sentence_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'constitutional\[notebook\]'"):
        run.chains.to_pandas()
    assert "9 records" in run.chains._repr_html_()


def test_a_notebook_shows_a_run_its_records_and_its_figures(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    share = {"value": 0.25, "low": 0.1, "high": 0.5, "n": 20}
    policies = {"sl_cai": {"held_out": {"harmful_compliance": share, "benign_correct": share}}}
    run = Run(
        write_run(
            tmp_path,
            chains=[chain(0, asked=hostile, tags=(hostile,))],
            metrics={"policies": {**policies, hostile: policies["sl_cai"]}},
            name=hostile,
        )
    )
    assert list(run.figures) == ["harmlessness"]
    assert run.figures["harmlessness"]._repr_png_().startswith(b"\x89PNG")
    assert b"<svg" in run.figures["harmlessness"].svg()
    with pytest.raises(InputError, match="the run has no figure 'elo'"):
        run.figures["elo"]
    html = run._repr_html_()
    assert "SL-CAI" in html and "25.0" in html and "10.0 to 50.0" in html
    shown = run.chains._repr_html_()
    assert "1 of 1 records" in shown
    assert hostile not in html + shown


def test_stages_come_in_the_order_of_the_work() -> None:
    names = [
        *("critique_revision", "helpful_replies", "sl_cai", "preference_pretraining"),
        *("comparisons_ai", "comparisons_helpfulness", "preference_model_rl_cai"),
        *("rl_cai", "answers_pretrained", "answers_helpful", "answers_sl_cai"),
        *("answers_rl_cai-step-9", "answers_rl_cai-step-10", "answers_rl_cai", "answers_prompted"),
        *("harm_score", "judged_harmlessness", "of_a_later_version"),
    ]
    assert in_order_of_work(sorted(names), ["rl_cai"]) == names
    assert [policy_of(stage_of(name)) for name in ("sl_cai", "rl_cai@7")] == ["sl_cai", "rl_cai@7"]
    assert policy_of("comparisons_ai") is None


def test_no_model_library_is_loaded(run: Run) -> None:
    code = (
        "import sys; from constitutional import Run; r = Run(sys.argv[1]); len(r.chains); r.stages;"
        "r.comparisons[0]; r.constitution; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "constitutional.reading.run" in loaded
    assert loaded & {"torch", "transformers", "matplotlib", "pandas"} == set()
