"""The embedded model's labels against the oracle, on requests it has never read about."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import constitutional.microworld
from constitutional.constitution import load_constitution
from constitutional.evaluation.verdicts import Preference
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair, account, contrast
from constitutional.microworld import language as say
from constitutional.microworld.corpus import Corpus
from constitutional.microworld.language import Form
from constitutional.microworld.oracle import Oracle
from constitutional.microworld.splits import requests_for

DATA = Path(constitutional.microworld.__file__).parent / "data"
pytestmark = pytest.mark.skipif(
    not (DATA / "pretrained").is_dir(),
    reason="the embedded model is not built (microworld/data/pretrained)",
)


def telling_pairs(n: int, seed: int) -> list[Pair]:
    """Two answers of different forms to harmful held-out requests."""
    rng, corpus = random.Random(seed), Corpus(seed)
    harmful = [r for r in requests_for("preference", held_out=True) if r.harm]
    pairs = []
    for i in range(n):
        request = rng.choice(harmful)
        a, b = (corpus.answer(request, form).text for form in rng.sample([*Form], 2))
        pairs.append(Pair(f"e{i}", say.ask(request, rng.choice(say.QUESTIONS)), a, b))
    return pairs


def test_labels_agree_with_the_oracle(capsys: pytest.CaptureFixture[str]) -> None:
    from constitutional.engines import load_engine

    oracle, pairs = Oracle(), telling_pairs(100, seed=1)
    assert not contrast(pairs, oracle.judge).warning
    reference: dict[str, Preference] = {
        p.id: oracle.prefer_harmless(p.prompt, p.a, p.b) for p in pairs
    }
    model = FeedbackModel(
        load_engine(DATA / "pretrained", device="cpu"),
        load_constitution(DATA / "constitution.yaml"),
        FeedbackConfig(orders="both"),
    )
    found = account(model.label(pairs), reference)
    assert found.labelled == 100
    assert found.agreement is not None
    accuracy, position = found.agreement.accuracy, found.agreement.decided_by_position
    assert accuracy is not None
    assert position is not None
    with capsys.disabled():
        print(
            f"\nembedded labels: accuracy {accuracy.value:.3f} "
            f"[{accuracy.low:.3f}, {accuracy.high:.3f}], by position {position.value:.3f}, "
            f"calibration error {found.agreement.expected_calibration_error:.3f}, n {accuracy.n}"
        )
    assert accuracy.value >= 0.9
