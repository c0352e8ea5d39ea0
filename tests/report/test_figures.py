from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from small_run import answers, small_metrics

from constitutional.evaluation.behaviour import as_json, policy_metrics
from constitutional.report.canvas import drawing, save
from constitutional.report.figures import FIGURES, draw_figures
from constitutional.report.names import POLICIES, in_order, is_snapshot, shown
from constitutional.report.training_figures import _PANELS
from constitutional.rl.dpo import DPOStep
from constitutional.rl.groups import GroupStep
from constitutional.rl.ppo import StepMetrics

HOSTILE = r"$\frac{x}$ <b>&[bold]" + "\x1b\x00_^"
ARMS = ("rl_cai", "hh_rlhf")


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    return small_metrics(*ARMS)


def texts(svg: Path) -> list[str]:
    """What a reader of the SVG finds as text."""
    root = ElementTree.fromstring(svg.read_bytes())
    return [
        "".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")
    ]


@pytest.fixture(scope="module")
def folder(metrics: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all figures."""
    folder = tmp_path_factory.mktemp("figures")
    assert {path.stem for path in draw_figures(metrics, folder)} == set(FIGURES)
    return folder


def drawn(metrics: dict[str, Any]) -> set[str]:
    """The figures that there are; files take time, and are looked at elsewhere."""
    with drawing():
        return {name for name, draw in FIGURES.items() if draw(metrics) is not None}


def test_every_figure_is_a_picture_and_names_its_policies(
    metrics: dict[str, Any], folder: Path
) -> None:
    for name in FIGURES:
        with Image.open(folder / f"{name}.png") as picture:
            picture.load()
            assert picture.width > 400
    everybody = [shown(name) for name in in_order(metrics["policies"])]
    assert everybody == ["pretrained", "helpful-only", "SL-CAI", "RL-CAI", "HH RLHF"]
    for name, wanted in {
        "harmlessness": everybody,
        "elo": everybody,
        "calibration": ["RL-CAI", "HH RLHF"],
        "rl_curves": ["RL-CAI", "HH RLHF"],
        "rl_monitors": ["RL-CAI", "HH RLHF"],
    }.items():
        found = texts(folder / f"{name}.svg")
        for policy in wanted:
            assert any(text.startswith(policy) for text in found), (name, policy)
        if name == "elo":
            assert {"13", "29"} <= set(found), "the snapshots' steps"
        assert any("n = " in text for text in found), f"{name} says how many"


def test_the_same_metrics_give_the_same_bytes(
    metrics: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    again = draw_figures(metrics, tmp_path)
    assert len(again) == 2 * len(FIGURES)
    for path in again:
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_a_name_is_text_and_is_never_obeyed(tmp_path: Path) -> None:
    found = small_metrics(HOSTILE, "_hidden")
    draw_figures(found, tmp_path)
    for name in FIGURES:
        # a long name may stand on two lines, each an element of its own
        said = "".join("".join(texts(tmp_path / f"{name}.svg")).split())
        for policy in (HOSTILE, "_hidden"):
            assert "".join(shown(policy).split()) in said, (name, policy)
    assert shown(HOSTILE) == r"$\frac{x}$ <b>&[bold]??_^"


def without(metrics: dict[str, Any], *path: str) -> dict[str, Any]:
    """The metrics without the entry at ``path``; ``*`` stands for every key."""
    key, *rest = path
    keys = set(metrics) if key == "*" else {key}
    return {
        k: without(v, *rest) if rest and k in keys else v
        for k, v in metrics.items()
        if rest or k not in keys
    }


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        (["arms"], {"calibration", "rl_curves", "rl_monitors"}),
        (["elo"], {"elo"}),
        (["revision_rounds"], set()),
        (["policies", "*", "held_out"], set()),
        (["arms", "hh_rlhf", "labels"], set()),
        (["arms", "*", "labels"], set()),
        (["arms", "*", "preference_model"], set()),
        (["arms", "*", "training"], {"rl_curves"}),
        (["arms", "*", "along"], {"rl_monitors"}),
    ],
    ids=lambda names: " ".join(sorted(names)),
)
def test_what_is_not_measured_leaves_out_its_figure_alone(
    metrics: dict[str, Any], missing: list[str], gone: set[str]
) -> None:
    assert drawn(without(metrics, *missing)) == set(FIGURES) - gone


def test_a_run_without_a_judge_and_without_rl_has_no_figure() -> None:
    unjudged = as_json({"sl_cai": policy_metrics(answers("sl_cai", 0.5, judged=False))})
    assert drawn({"policies": unjudged, "revisions": {}}) == set()
    assert drawn({}) == set()


def saved(metrics: dict[str, Any], name: str, folder: Path) -> list[str]:
    """The texts of one figure."""
    with drawing():
        save(FIGURES[name](metrics), folder, name)
    return texts(folder / f"{name}.svg")


def test_an_arm_without_labels_is_not_in_their_panel(
    metrics: dict[str, Any], tmp_path: Path
) -> None:
    human = {**metrics["arms"]["hh_rlhf"], "labels": None}
    said = saved({"arms": {**metrics["arms"], "hh_rlhf": human}}, "calibration", tmp_path)
    assert sum(text.startswith("RL-CAI") for text in said) == 2
    assert sum(text.startswith("HH RLHF") for text in said) == 1


def test_a_number_that_is_none_is_not_drawn(metrics: dict[str, Any], tmp_path: Path) -> None:
    arm = metrics["arms"]["rl_cai"]
    steps = [
        {**entry, "reward_held_out": None, "explained_variance": math.nan}
        for entry in arm["training"]["history"]
    ]
    arms = {"rl_cai": {**arm, "training": {**arm["training"], "history": steps}}}
    said = saved({"arms": arms}, "rl_curves", tmp_path)
    assert "entropy (nats a token)" in said
    assert "score by the held-out PM" not in said
    assert "explained variance of the values" not in said


def test_the_panels_are_entries_of_the_histories() -> None:
    steps = (StepMetrics, GroupStep, DPOStep)
    entries = {field.name for step in steps for field in fields(step)}
    assert {key for keys in _PANELS.values() for key in keys} <= entries
    assert "reward_half_width" in entries


def test_another_algorithm_has_the_panels_that_it_can(
    metrics: dict[str, Any], tmp_path: Path
) -> None:
    group = [
        {"step": step, "reward": 1.0, "reward_half_width": 0.5, "kl_k1": 0.1, "kl_k3": 0.1}
        for step in (1, 2)
    ]
    dpo = [{"step": step, "loss": 0.5, "margin": 0.1 * step, "agreement": 0.7} for step in (1, 2)]
    arms = {
        "rl_cai": {"training": {"algorithm": "rloo", "history": group}},
        "hh_rlhf": {"training": {"algorithm": "dpo", "history": dpo}},
    }
    said = saved({"arms": arms}, "rl_curves", tmp_path)
    assert "agreement with the labels (DPO)" in said
    assert "entropy (nats a token)" not in said
    assert {"RL-CAI (n = 2 steps)", "HH RLHF (n = 2 steps)"} <= set(said)
    with drawing():
        axes = FIGURES["rl_curves"]({"arms": arms}).axes[0]
    assert axes.get_title().startswith("reward")
    (band,) = axes.collections
    low, high = band.get_datalim(axes.transData).intervaly
    assert (low, high) == (0.5, 1.5)


def test_final_policies_come_in_the_order_of_the_paper() -> None:
    assert in_order(["mine", "rl_cai@10", "rl_cai", "pretrained"]) == [
        "pretrained",
        "rl_cai",
        "mine",
    ]
    assert [is_snapshot(name) for name in ("rl_cai@10", "me@home", "@1", "rl_cai")] == [
        True,
        False,
        False,
        False,
    ]
    assert len({shown(name) for name in POLICIES}) == len(POLICIES)
    assert shown("x" * 100) == "x" * 37 + "..."
    assert shown("a\nb\t c\u202e") == "a b c?"


def test_the_files_hold_no_date(folder: Path) -> None:
    with Image.open(folder / "elo.png") as picture:
        assert set(picture.info) <= {"Software", "dpi"}
    assert b"dc:date" not in (folder / "elo.svg").read_bytes()
