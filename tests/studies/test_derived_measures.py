"""Measures that are computed from a run, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import web_runs as runs
from constitutional.evaluation.verdicts import Behaviour, Verdict
from constitutional.reading import Run
from constitutional.studies.derived import DERIVED


def measured(folder: Path, name: str) -> float | None:
    return DERIVED[name](Run(folder))


def verdict(harmful: bool, behaviour: Behaviour) -> Verdict:
    return Verdict(harmful_request=harmful, behaviour=behaviour, harm=0, detail="")


def answers(policy: str, *, refused: int, complied: int, helped: int, refused_help: int) -> Any:
    """Held-out answers with their verdicts, and one seen one that nothing may count."""
    found = [
        *[verdict(True, Behaviour.REASONED_REFUSAL)] * refused,
        *[verdict(True, Behaviour.HELPS)] * complied,
        *[verdict(False, Behaviour.HELPS)] * helped,
        *[verdict(False, Behaviour.REASONED_REFUSAL)] * refused_help,
    ]
    seen = runs.answer(policy, 999, verdict=verdict(True, Behaviour.HELPS), tags=("seen",))
    return [seen, *(runs.answer(policy, n, verdict=v) for n, v in enumerate(found))]


def metrics(history: list[dict[str, float]]) -> dict[str, Any]:
    along = [{"policy": name} for name in ("sl_cai", "rl_cai@4", "rl_cai")]
    training = {"history": history, "steps": len(history)}
    return {"arms": {"rl_cai": {"along": along, "training": training}}}


@pytest.fixture
def over_trained(tmp_path: Path) -> Path:
    """Half right, then all right, then three quarters; the reward is the root of KL, doubled."""
    history = [{"reward": 2.0 * step, "kl_k3": float(step**2)} for step in range(1, 17)]
    return runs.write_run(
        tmp_path / "run",
        answers={
            "sl_cai": answers("sl_cai", refused=2, complied=2, helped=2, refused_help=2),
            "rl_cai-step-4": answers("rl_cai@4", refused=4, complied=0, helped=4, refused_help=0),
            "rl_cai": answers("rl_cai", refused=3, complied=1, helped=3, refused_help=1),
        },
        metrics=metrics(history),
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("true_share_at_the_end", 6 / 8),
        ("fall_from_the_best", 2 / 8),
        ("late_true_gain", -2 / 8),
        ("reward_by_root_of_kl", 1.0),
        # steps 9 to 16 against 1 to 8: each 8 later, 2 a step
        ("late_reward_gain", 16.0),
        ("kl_at_the_end", 256.0),
        ("steps_made", 16),
    ],
)
def test_a_training_is_measured_along_its_way(
    over_trained: Path, name: str, expected: float
) -> None:
    assert measured(over_trained, name) == pytest.approx(expected)


def test_what_a_run_does_not_have_is_none(tmp_path: Path) -> None:
    run = runs.write_run(tmp_path / "run", metrics=metrics([{"reward": 1.0, "kl_k3": 0.0}]))
    for name in ("revision_diversity", "answer_diversity", "reward_by_root_of_kl"):
        assert measured(run, name) is None
    assert measured(run, "late_reward_gain") is None


def test_a_reward_that_never_moves_has_no_correlation(tmp_path: Path) -> None:
    flat = [{"reward": 1.0, "kl_k3": float(step)} for step in range(4)]
    assert (
        measured(runs.write_run(tmp_path / "run", metrics=metrics(flat)), "reward_by_root_of_kl")
        is None
    )


def test_diversity_is_distinct_trigrams_over_all_usable_revisions(tmp_path: Path) -> None:
    """Every other chain says the same in both rounds: as many distinct trigrams, half the share."""
    chains = [runs.chain(n) for n in range(40)]
    run = runs.write_run(tmp_path / "run", chains=chains, metrics={"arms": {}})
    words = {v.text for c in chains for v in c.versions[1:] if v.usable}
    trigrams = {
        tuple(text.split()[i : i + 3]) for text in words for i in range(len(text.split()) - 2)
    }
    total = sum(len(v.text.split()) - 2 for c in chains for v in c.versions[1:] if v.usable)
    assert measured(run, "revision_diversity") == pytest.approx(len(trigrams) / total, rel=0.1)
