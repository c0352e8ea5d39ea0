"""``cai eval pm`` and ``cai eval harm-score`` with models of random weights."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from harm_run import rated

from constitutional.dialogue import Conversation
from constitutional.preference.harm_model import HarmScore, train_harm_score
from constitutional.preference.judged import read_judged_pairs
from constitutional.preference.model import PreferenceModel
from constitutional.runs.progress import QuietProgress
from constitutional.training_settings import TrainingSettings

SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"
OFFICIAL = SHARED / "official/evals/438HHHEvaluations.jsonl"
HH = SHARED / "hh-rlhf/harmless-base-test-even.jsonl.gz"
Cai = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def preference_model(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pm")
    PreferenceModel.begin(llama, style="transcript", seed=1, device="cpu").save(folder)
    return folder


@pytest.fixture(scope="module")
def harm_model(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("harm")
    train_harm_score(
        llama,
        [rated(n) for n in range(8)],
        held_out=[rated(n) for n in range(8, 12)],
        style="transcript",
        config=TrainingSettings(),
        work=work,
        seed=0,
        progress=QuietProgress(),
        device="cpu",
    )
    return work / "result"


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def hh(asked: str, chosen: str, rejected: str) -> dict[str, str]:
    start = f"\n\nHuman: {asked}\n\nAssistant: "
    return {"chosen": start + chosen, "rejected": start + rejected}


def test_pairs_of_hh_rlhf(cai: Cai, preference_model: Path, tmp_path: Path) -> None:
    pairs = [("Is it well?", "Thanks, it is well.", "no."), ("Is it?", "no.", "It is.")]
    rows = [hh(*pair) for pair in pairs]
    rows += [hh("Is it?", "same", "same"), hh("Well?", "well " * 9000, "no.")]
    path = write(tmp_path / "pairs.jsonl", *rows)
    code, out, err = cai("eval", "pm", path, "--pm", preference_model, "--json", "--batch-size", 1)
    assert code == 0, err
    found = json.loads(out)
    model = PreferenceModel.load(preference_model, device="cpu")
    right = [
        model.score(Conversation.of(asked), better) > model.score(Conversation.of(asked), worse)
        for asked, better, worse in pairs
    ]
    assert found["accuracy"]["value"] == pytest.approx(sum(right) / 2)
    assert (found["pairs"], found["scored"], found["too_long"], found["ties"]) == (3, 2, 1, 0)
    assert found["left_out"] == {"the answers are the same": 1}
    assert found["always_first"] is None
    assert err.split("\r")[-1] == "3 of 3 pairs\n"


def test_the_table(cai: Cai, preference_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", hh("Is it?", "It is.", "no."))
    code, out, err = cai("eval", "pm", path, "--pm", preference_model)
    assert code == 0, err
    assert "longer answer" in out
    assert "1 of 1 pairs scored" in " ".join(out.split())


def test_what_is_no_preference_model_is_refused(cai: Cai, llama: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", hh("Is it?", "It is.", "no."))
    code, out, err = cai("eval", "pm", path, "--pm", llama)
    assert (code, out) == (2, "")
    assert err.startswith(f"cai: {llama} is no preference model of ours")
    code, out, err = cai("eval", "pm", write(path, {"chosen": "x"}), "--pm", llama)
    assert (code, out) == (2, "")
    assert err.startswith(f"cai: {path}, line 1: ")
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(
    not (OFFICIAL.is_file() and HH.is_file()),
    reason="the official evaluations and hh-rlhf are not beside this checkout (shared/data)",
)
def test_the_real_files(cai: Cai, preference_model: Path, tmp_path: Path) -> None:
    lines = OFFICIAL.read_text(encoding="utf-8").splitlines()[120:140]
    official = write(tmp_path / "official.jsonl", *map(json.loads, lines))
    code, out, err = cai("eval", "pm", official, "--pm", preference_model, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["pairs"], found["scored"], found["too_long"]) == (20, 20, 0)
    assert found["accuracy"]["n"] == found["conversations"] < 20
    assert sum(bin_["n"] for bin_ in found["curve"]) == 20

    pairs, left_out = read_judged_pairs(HH)
    with gzip.open(HH, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(pairs) + sum(left_out.values()) == len(rows)
    assert {row["chosen"].strip()[-20:] for row in rows} >= {
        pair.better.strip()[-20:] for pair in pairs if len(pair.better.strip()) >= 20
    }


def test_mean_harm_of_answers(cai: Cai, harm_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {n} words", "response": "well " * (n + 1)} for n in range(3)]
    one = write(tmp_path / "one.jsonl", *rows, {"prompt": "Say it", "response": "well " * 9000})
    two = write(tmp_path / "two.jsonl", rows[0])
    code, out, err = cai("eval", "harm-score", one, two, "--model", harm_model, "--json")
    assert code == 0, err
    found = json.loads(out)
    whole = [Conversation.of(str(r["prompt"]), str(r["response"]).strip()) for r in rows]
    scores = HarmScore.load(harm_model, device="cpu").scores(whole)
    mine = found[str(one)]
    assert (mine["answers"], mine["too_long"], mine["prompts"]) == (4, 1, 3)
    assert mine["mean"]["value"] == pytest.approx(sum(scores) / 3, abs=1e-5)
    assert found[str(two)]["mean"] is None
    code, out, err = cai("eval", "harm-score", one, two, "--model", harm_model)
    assert code == 0, err
    assert "fewer than two prompts have no interval" in " ".join(out.split())


def test_answers_without_prompts_are_refused(cai: Cai, harm_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers.txt"
    path.write_text("Yes, well.\n")
    code, out, err = cai("eval", "harm-score", path, "--model", harm_model)
    assert (code, out) == (2, "")
    assert err.startswith(f"cai: {path}: the answer in line 1 has no prompt")
