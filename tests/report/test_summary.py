from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_run import PROMPTS, answers, small_metrics

from constitutional.evaluation.behaviour import as_json, policy_metrics
from constitutional.evaluation.intervals import proportion
from constitutional.evaluation.verdicts import Behaviour, Verdict
from constitutional.report.summary import tables, write_report

HOSTILE = "[red]x[/red][link=http://a]\x1b[2J$_{a}$"
FIGURES = ("harmlessness", "elo", "calibration", "rl_curves", "rl_monitors")


def report(metrics: dict[str, Any], folder: Path, *, width: int = 100) -> str:
    screen = StringIO()
    write_report(metrics, folder, Console(file=screen, width=width))
    return screen.getvalue()


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    return small_metrics("rl_cai")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def whole(metrics: dict[str, Any], folder: Path) -> str:
    """What the screen shows of all metrics."""
    return report(metrics, folder)


def row(shown: str, policy: str) -> str:
    """The two lines of a policy in the first table, joined."""
    lines = shown.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(policy))
    return " ".join(f"{lines[first]} {lines[first + 1]}".split())


def test_the_table_has_every_final_policy_in_a_hundred_columns(
    metrics: dict[str, Any], whole: str, folder: Path
) -> None:
    shown = whole
    assert max(map(len, shown.splitlines())) <= 100
    assert "\x1b" not in shown
    assert "…" not in shown, "no number is cut off"
    assert "@" not in shown, "snapshots are in the figures"
    for policy in ("pretrained", "helpful-only", "SL-CAI", "RL-CAI"):
        assert policy in shown
    # 24 prompts, half of them held out, half of those harmful
    assert f"{PROMPTS // 4} +" in row(shown, "SL-CAI")
    estimate = metrics["policies"]["sl_cai"]["held_out"]["reasoned_refusal"]
    assert f"{100 * estimate['value']:.1f}" in row(shown, "SL-CAI")
    assert f"({100 * estimate['low']:.0f}-{100 * estimate['high']:.0f})" in row(shown, "SL-CAI")
    assert row(shown, "SL-CAI").endswith("(0 to 0) (0 to 0)")
    rating = metrics["elo"]["harmlessness"]["rl_cai"]
    assert f"({rating['low']:.0f} to {rating['high']:.0f})" in row(shown, "RL-CAI")
    assert {path.stem for path in (folder / "figures").iterdir()} == set(FIGURES)


def test_a_narrow_screen_has_elo_in_a_table_of_its_own(metrics: dict[str, Any]) -> None:
    wide = tables(metrics, Console(width=120))
    narrow = tables(metrics, Console(width=80))
    assert len(narrow) == len(wide) + 1
    screen = StringIO()
    console = Console(file=screen, width=80)
    for table in narrow:
        console.print(table)
    shown = screen.getvalue()
    assert "…" not in shown
    assert shown.count("helpful-only") == 3, "no name is broken either"


def test_each_arm_is_accounted_for_in_a_few_lines(metrics: dict[str, Any], whole: str) -> None:
    shown = " ".join(whole.split())
    arm = metrics["arms"]["rl_cai"]
    accuracy = arm["labels"]["accuracy"]
    assert f"RL-CAI, labels: accuracy {100 * accuracy['value']:.1f}% (" in shown
    assert f"ECE {arm['labels']['ece']:.3f}, unreadable 0, telling pairs 0.0% (" in shown
    assert "Warning: only 0 of 24 pairs differ in text" in shown
    right = arm["preference_model"]["harmlessness_accuracy"]
    assert f"accuracy on harmlessness {100 * right['value']:.1f}% (" in shown
    assert (
        "RL-CAI, training: PPO, 4 steps, ended: step 4: the mean KL of 9.1 nats is above 9; "
        "KL at the end 2.00 (k1), 1.33 (k3) nats" in shown
    )
    assert "RL-CAI, monitors: " in shown
    flagged = {
        name
        for entry in arm["along"]
        for name, monitor in entry["monitors"].items()
        if monitor["flagged"]
    }
    assert flagged, "refusing half of what is harmless is no small thing"
    for name in flagged:
        assert f"{name.replace('_', ' ')} flagged at " in shown


def test_an_arm_without_labels_and_a_quiet_one(metrics: dict[str, Any], tmp_path: Path) -> None:
    arm = {**metrics["arms"]["rl_cai"], "labels": None, "along": [{"step": 0, "monitors": {}}]}
    shown = report({"arms": {"helpful_rlhf": arm}}, tmp_path)
    assert "RLHF, labels" not in shown
    assert "helpful RLHF, preference model: accuracy on" in shown
    assert "helpful RLHF, monitors: none flags (snapshots: 1)" in shown


def test_a_run_without_sl_cai_counts_elo_from_another_policy(tmp_path: Path) -> None:
    zero = {"value": 0.0, "low": 0.0, "high": 0.0, "n": 6}
    other = {"value": 10.2, "low": -0.2, "high": 30.4, "n": 6}
    shown = report({"elo": {"helpfulness": {"pretrained": other, "sft": zero}}}, tmp_path)
    assert "Elo, SFT at 0" in shown
    assert "(0 to 30)" in shown, "minus nothing is nothing"


def test_dpo_is_measured_after_its_training(tmp_path: Path) -> None:
    training = {
        "algorithm": "dpo",
        "steps": 2,
        "ended": "all steps done",
        "history": [{"step": 2, "loss": 0.6, "margin": None, "agreement": None}],
        "after": {"kl_k1": 1.234, "kl_k3": 1.5},
    }
    shown = report({"arms": {"rl_cai": {"training": training}}}, tmp_path)
    assert (
        "RL-CAI, training: DPO, 2 steps, ended: all steps done; "
        "KL at the end 1.23 (k1), 1.50 (k3) nats" in " ".join(shown.split())
    )


def test_a_name_is_text_on_the_screen_too(tmp_path: Path) -> None:
    metrics = small_metrics(HOSTILE)
    shown = report({"policies": metrics["policies"], "arms": metrics["arms"]}, tmp_path)
    assert "\x1b" not in shown
    assert "[red]x[/red][link=http://a]?[2J$_{a}$, labels: accuracy" in " ".join(shown.split())


def test_harm_by_tag_is_a_table_where_tags_are_few() -> None:
    def shown(tags: dict[str, int], width: int = 100) -> str:
        policies = {
            name: {"harmful_compliance_by_tag": as_json({t: proportion(n, 20) for t, n in found})}
            for name, found in {"sl_cai": tags.items(), "rl_cai": [("lies", 0)]}.items()
        }
        screen = StringIO()
        console = Console(file=screen, width=width)
        for table in tables({"policies": policies}, console):
            console.print(table)
        return screen.getvalue()

    two = shown({"lies": 5, HOSTILE: 20})
    assert "by tag" in two
    assert "\x1b" not in two
    assert "25.0" in row(two, "SL-CAI") and "(11-47)" in row(two, "SL-CAI")
    assert row(two, "RL-CAI").startswith("RL-CAI - 0.0 "), "no prompt of a tag is no share"
    assert "by tag" not in shown({"lies": 5})
    assert "by tag" not in shown({f"kind {n}": n for n in range(9)})


def test_without_a_judge_it_says_so(tmp_path: Path) -> None:
    unjudged = as_json({"sl_cai": policy_metrics(answers("sl_cai", 0.5, judged=False))})
    folder = tmp_path / "[bold]run"
    shown = report({"policies": unjudged, "seconds": {"total": 3.2}}, folder, width=300)
    assert "The recipe names no judge" in shown
    assert "95% interval" not in shown
    assert f"Took 3 s. Everything is in {folder}" in shown
    assert not (folder / "figures").exists()


def test_ill_formed_answers_are_named_under_the_table(tmp_path: Path) -> None:
    broken = answers("sl_cai", 0.5)
    verdict = Verdict(harmful_request=False, behaviour=Behaviour.ILL_FORMED, harm=0)
    broken[0] = broken[0].model_copy(update={"verdict": verdict})
    policies = as_json({"sl_cai": policy_metrics(broken)})
    shown = report({"policies": policies, "revision_rounds": []}, tmp_path)
    assert "Ill-formed answers to held-out prompts: SL-CAI 8.3% (" in shown
