from __future__ import annotations

import json
import multiprocessing
import random
import signal
from pathlib import Path
from typing import Any

import harm_run
import pytest
import torch
from harm_run import rated
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import constitutional.microworld
from constitutional.dialogue import Conversation
from constitutional.engines.base import Style
from constitutional.errors import InputError, ModelError
from constitutional.evaluation.harm_score import RatedConversation
from constitutional.microworld import language as say
from constitutional.microworld.oracle import Oracle
from constitutional.microworld.splits import requests_for
from constitutional.microworld.world import TIPS, TOOLS
from constitutional.packing import Batching, pad_rows
from constitutional.preference.harm_model import (
    HarmScore,
    HarmTraining,
    RatingBatches,
    Ratings,
    RatingTrainer,
    train_harm_score,
)
from constitutional.preference.model import PreferenceModel
from constitutional.runs.progress import QuietProgress
from constitutional.training import arguments
from constitutional.training_settings import TrainingSettings

DATA = Path(constitutional.microworld.__file__).parent / "data"
PROCESSES = multiprocessing.get_context("forkserver")


def train(
    model: Path, work: Path, *, style: Style = "transcript", n: int = 40, **config: Any
) -> HarmTraining:
    return train_harm_score(
        model,
        [rated(i) for i in range(n)],
        held_out=[rated(i) for i in range(50, 60)],
        style=style,
        config=TrainingSettings(**{"learning_rate": 1e-3, "batch_size": 8} | config),
        work=work,
        seed=0,
        progress=QuietProgress(),
        device="cpu",
    )


@pytest.mark.parametrize("name", ["llama-transcript", "qwen-chat"])
def test_transformers_alone_reads_the_same_ratings(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    architecture, _, style = name.partition("-")
    train(request.getfixturevalue(architecture), tmp_path, style=style)  # type: ignore[arg-type]
    folder = tmp_path / "result"
    conversations = [rated(n).conversation for n in range(4)]
    scores = HarmScore.load(folder, device="cpu").scores(conversations)

    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (network.config.num_labels, network.config.problem_type) == (1, "regression")
    roles = {"human": "user", "assistant": "assistant"}
    for conversation, score in zip(conversations, scores, strict=True):
        messages = [{"role": roles[t.role], "content": t.text} for t in conversation.turns]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        with torch.inference_mode():
            alone = network(**tokenizer(text, return_tensors="pt")).logits.item()
        assert score == pytest.approx(alone, abs=1e-5)


def test_the_loss_is_that_of_transformers(llama: Path, tmp_path: Path) -> None:
    """Its own regression loss, also of a step in two parts."""
    begun = PreferenceModel.begin(llama, style="transcript", seed=1, device="cpu")
    rows = [begun.tokens(Conversation.of("Hi"), "well " * n) for n in (1, 4, 9)]
    collate, ratings = RatingBatches(Batching(packs=False)), [0.0, 4.0, 2.5]
    data = [{"ids": ids, "rating": rating} for ids, rating in zip(rows, ratings, strict=True)]
    trainer = RatingTrainer(
        begun.head,
        model=begun.network,
        args=arguments(TrainingSettings(), tmp_path, 0, on_gpu=False),
        train_dataset=Ratings(rows, ratings),
        data_collator=collate,
    )
    batch = collate(data)
    with torch.no_grad():
        padded = pad_rows(rows, begun.card.pad_id)
        theirs = padded.forward(begun.network, labels=torch.tensor(ratings)).loss.item()
        assert trainer.compute_loss(begun.network, batch).item() == pytest.approx(theirs)
        parts = [
            trainer.compute_loss(begun.network, collate(part), num_items_in_batch=torch.tensor(3))
            for part in (data[:1], data[1:])
        ]
    assert sum(part.item() for part in parts) == pytest.approx(theirs)


def test_what_a_training_leaves(llama: Path, tmp_path: Path) -> None:
    report = train(llama, tmp_path, max_length=80)
    assert report.too_long > 0
    assert report.conversations + report.too_long == 40
    assert report.held_out.n + report.held_out.too_long == 10
    saved = json.loads((tmp_path / "result/harm_training.json").read_text())
    assert saved["held_out"]["mean_absolute_error"]["n"] == report.held_out.n
    assert saved == report.model_dump(mode="json")


def test_it_is_no_preference_model_nor_the_other_way_round(
    llama: Path, trained: Path, tmp_path: Path
) -> None:
    train(llama, tmp_path, n=8)
    with pytest.raises(ModelError, match=r"no preference model of ours.*preference_model\.json"):
        PreferenceModel.load(tmp_path / "result")
    with pytest.raises(ModelError, match=r"no harm score of ours: it has no harm_score\.json"):
        HarmScore.load(trained)


def test_what_cannot_be_trained_or_scored_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 0 and 0 within max_length 8"):
        train(llama, tmp_path / "none", max_length=8)
    begun = PreferenceModel.begin(llama, style="transcript", seed=1, device="cpu")
    asked = Conversation.of("How?")
    with pytest.raises(InputError, match="must end in an assistant's answer"):
        HarmScore(begun).scores([asked])
    whole, long = asked.add("assistant", "So."), asked.add("assistant", "well " * 9000)
    scores = HarmScore(begun).scores_that_fit([long, whole])
    assert scores == [None, *HarmScore(begun).scores([whole])]


def test_a_killed_training_ends_with_the_same_bytes(llama: Path, tmp_path: Path) -> None:
    process = PROCESSES.Process(target=harm_run.main, args=(str(llama), str(tmp_path / "cut"), 7))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "cut/checkpoint-6/complete").exists()
    for name in ("whole", "cut"):
        harm_run.main(str(llama), str(tmp_path / name))
    whole, cut = (
        {file.name: file.read_bytes() for file in sorted((tmp_path / name / "result").iterdir())}
        for name in ("whole", "cut")
    )
    assert whole == cut


# The microworld: the oracle rates, the pretrained model learns


def microworld_rated(n: int, seed: int, *, held_out: bool) -> list[RatedConversation]:
    """Answers of all kinds to red-team and harmless requests, with the oracle's rating."""
    rng, oracle = random.Random(seed), Oracle()
    requests = requests_for("preference", held_out=held_out)
    found = []
    while len(found) < n:
        request = rng.choice(requests)
        template = rng.randrange(2)
        tool = rng.choice([request.tool, *sorted(TOOLS.values())[:3]])
        tip = rng.choice([request.tip, *sorted(TIPS.values())[:3]])
        answer = rng.choice(
            [
                say.help_with(request, template, tool=tool, tip=tip),
                say.help_with(request, template),
                say.refuse_barely(request, template),
                say.evade(template),
            ]
        )
        asked = say.ask(request, rng.choice(say.QUESTIONS))
        harm = oracle.judge(asked, answer).harm
        found.append(RatedConversation(conversation=asked.add("assistant", answer), rating=harm))
    return found


def test_it_learns_the_oracle_s_ratings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = train_harm_score(
        DATA / "pretrained",
        microworld_rated(400, 1, held_out=False),
        held_out=microworld_rated(200, 2, held_out=True),
        style="transcript",
        config=TrainingSettings(learning_rate=1e-3, batch_size=16, epochs=3),
        work=tmp_path,
        seed=0,
        progress=QuietProgress(),
        device="cpu",
    )
    found = report.held_out
    assert found.pearson is not None
    with capsys.disabled():
        print(
            f"\nharm score: error {found.mean_absolute_error.value:.2f} "
            f"(always {found.guess:.2f}: {found.baseline_error.value:.2f}), "
            f"r {found.pearson.value:.2f}, n {found.n}"
        )
    assert found.mean_absolute_error.high < found.baseline_error.low
    assert found.pearson.low > 0.6
