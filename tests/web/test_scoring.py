"""Scores by the run's own models, beside its records."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.web_runs import HELP, REFUSAL, chain, comparison, write_run

from constitutional.errors import EngineError
from constitutional.microworld import data_file
from constitutional.preference.combined import logistic
from constitutional.preference.harm_model import CARD as HARM_CARD
from constitutional.preference.model import PreferenceModel
from constitutional.reading import Run
from constitutional.runs.records import Chain, Comparison
from constitutional.runs.stage import Stage
from constitutional.web.index import Query, RunIndex, Where
from constitutional.web.index.query import facets, read_record, scored_arms, scores, search
from constitutional.web.scoring import Scorer, bucket, has_work, score

Browse = Callable[..., TestClient]


@pytest.fixture(scope="module")
def model() -> PreferenceModel:
    """A preference model before its training: its scores are as good as any here."""
    return PreferenceModel.begin(data_file("pretrained"), style="transcript", seed=5, device="cpu")


@pytest.fixture
def run(model: PreferenceModel, tmp_path: Path) -> Path:
    pairs = [
        comparison(0, prob_a=0.9),
        comparison(1, a=REFUSAL, b=HELP, prob_a=0.9),
        comparison(2, prob_a=None),
        comparison(3, a="please " * 3000),  # longer than the model reads
    ]
    folder = write_run(
        tmp_path / "run",
        chains=[chain(number) for number in range(5)],
        comparisons={"comparisons_ai": pairs},
    )
    for stage, card in (
        ("preference_model_rl_cai", "preference_model.json"),
        ("harm_score", HARM_CARD),
    ):
        made = Stage(folder / "stages" / stage, "artifact")
        made.begin({})
        model.card_name = card
        (made.folder / "result").mkdir()
        model.save(made.folder / "result")
        made.update(done=True)
    return folder


@pytest.fixture
def index(run: Path, tmp_path: Path) -> Path:
    made = RunIndex(run, tmp_path / "cache")
    made.update()
    return made.path


def test_comparisons_by_how_far_the_label_is_from_the_preference_model(
    run: Path, index: Path, model: PreferenceModel
) -> None:
    assert has_work(Run(run), index)
    score(Run(run), index)
    assert not has_work(Run(run), index)
    assert scored_arms(index) == ["rl_cai"]

    page = search(index, Query("comparisons", Where(), "pm", "rl_cai"), first=0, count=9)
    records = [read_record(run, found, Comparison) for found in page.records]
    by_id = {r.id: scores(index, [f.row]) for r, f in zip(records, page.records, strict=True)}
    a, b = (model.score(comparison(0).prompt, text) for text in (HELP, REFUSAL))
    gaps = {}
    for name, first, second in (("pair-0", a, b), ("pair-1", b, a)):
        ((found,),) = by_id[name].values()
        assert (found.a, found.b) == pytest.approx((first, second), abs=1e-4)
        gaps[name] = abs(logistic(first - second) - 0.9)
        assert found.gap == pytest.approx(gaps[name], abs=1e-4)
    furthest = sorted(gaps, key=lambda name: -gaps[name])
    assert [record.id for record in records][:2] == furthest
    ((unlabelled,),) = by_id["pair-2"].values()
    assert unlabelled.gap is None
    assert by_id["pair-3"] == {}  # too long, and not asked again


def test_chains_by_the_harm_of_their_last_answer(
    run: Path, index: Path, model: PreferenceModel
) -> None:
    score(Run(run), index)
    prompt = chain(0).prompt
    value = model.score(prompt, REFUSAL)
    assert facets(index, "chains")["score"] == [(bucket(value), 5)]
    query = Query("chains", Where("", {"score": bucket(value)}), "score")
    page = search(index, query, first=0, count=9)
    assert [read_record(run, found, Chain).id for found in page.records] == [
        f"chain-{number}" for number in range(5)
    ]


def test_parts_of_the_scale() -> None:
    assert [bucket(value) for value in (-0.3, 0.0, 0.99, 1.0, 2.5, 3.0, 4.0, 5.7)] == [
        *("0 to 1", "0 to 1", "0 to 1", "1 to 2", "2 to 3", "3 to 4", "3 to 4", "3 to 4")
    ]


def test_scores_appear_while_it_is_served(run: Path, browse: Browse) -> None:
    client = browse([run], scores=True)
    before = client.get("/runs/run/comparisons").text
    assert "label against PM" not in before and "RL-CAI PM" not in before
    deadline = time.monotonic() + 100
    while "RL-CAI PM" not in client.get("/runs/run/comparisons?order=pm").text:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "label against PM" in client.get("/runs/run/comparisons").text
    assert "Preference model of RL-CAI" in client.get("/runs/run/comparisons/comparisons_ai/1").text
    while "highest harm score at the end" not in client.get("/runs/run/chains").text:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_model_that_cannot_be_read_costs_a_sentence(run: Path, index: Path) -> None:
    card = run / "stages" / "preference_model_rl_cai" / "result" / "preference_model.json"
    card.write_text(json.dumps({"no": "card"}))
    scorer = Scorer(Run(run), index)
    scorer.go_on()
    while scorer.is_running:
        time.sleep(0.1)
    with pytest.raises(EngineError, match=r"not scored: .*preference_model\.json cannot be read"):
        scorer.go_on()
