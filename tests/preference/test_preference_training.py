from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from preference_pairs import comparison
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from constitutional.engines.base import Style
from constitutional.errors import InputError, TrainingError
from constitutional.packing import Batching
from constitutional.preference.model import PreferenceModel
from constitutional.preference.ranked import binarised
from constitutional.preference.report import preference_report
from constitutional.preference.settings import PreferenceConfig, PretrainingConfig
from constitutional.preference.train import (
    PairBatches,
    PairTrainer,
    TrainingReport,
    pretrain_preference_model,
    tokenise,
    train_preference_model,
)
from constitutional.runs.progress import Progress, QuietProgress
from constitutional.runs.records import Comparison
from constitutional.training import arguments
from constitutional.training_checks import check_pairs

HELD_OUT = [comparison(n) for n in range(100, 110)]


def train(
    model: Path,
    comparisons: Sequence[Comparison],
    work: Path,
    *,
    style: Style = "transcript",
    held_out: Sequence[Comparison] = HELD_OUT,
    seed: int = 0,
    **config: Any,
) -> TrainingReport:
    return train_preference_model(
        model,
        comparisons,
        held_out=held_out,
        style=style,
        config=PreferenceConfig(**{"learning_rate": 1e-3, "batch_size": 8} | config),
        work=work,
        seed=seed,
        progress=QuietProgress(),
        device="cpu",
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def far_apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


# What a step computes


@pytest.mark.parametrize("style", ["transcript", "chat"])
@pytest.mark.parametrize("name", ["llama", "qwen"])
def test_hard_labels_train_as_with_trl(
    name: str,
    style: Style,
    comparisons: list[Comparison],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """The same loss and gradients from the same weights; and the same weights after four steps.

    TRL gets messages, and tokenises them itself by the folder's template.
    """
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    begun = PreferenceModel.begin(request.getfixturevalue(name), style=style, seed=0, device="cpu")
    begun.save(tmp_path / "begun")
    rows = []
    for pair in comparisons:
        best = pair if pair.prob_a == 1 else pair.swap()
        prompt = [
            {"role": ("user", "assistant")[at % 2], "content": turn.text}
            for at, turn in enumerate(best.prompt.turns)
        ]
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in (best.a, best.b))
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    settings = RewardConfig(
        output_dir=str(tmp_path / "trl"),
        num_train_epochs=4,
        per_device_train_batch_size=len(rows),
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        disable_tqdm=True,
        max_length=None,
    )
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "begun")
    theirs = RewardTrainer(
        model=network,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tmp_path / "begun"),
    )
    data = tokenise(begun, comparisons, PreferenceConfig())
    batching = Batching.of(begun.network)
    assert batching.packs
    ours = PairTrainer(
        begun.head,
        model=begun.network.train(),
        args=arguments(PreferenceConfig(), tmp_path / "x", 0, on_gpu=False),
        train_dataset=data,
        data_collator=PairBatches(batching),
    )

    # 1. loss and gradients
    found = []
    for trainer in (theirs, ours):
        batch = trainer.data_collator([trainer.train_dataset[at] for at in range(len(rows))])
        with batching.attention(trainer.model) if trainer is ours else nullcontext():
            loss = trainer.compute_loss(trainer.model, batch)
            loss.backward()
        found.append((loss.item(), {n: p.grad for n, p in trainer.model.named_parameters()}))
        trainer.model.zero_grad()
    (their_loss, their_gradients), (our_loss, our_gradients) = found
    assert our_loss == pytest.approx(their_loss, abs=1e-6)
    assert far_apart(our_gradients, their_gradients) < 1e-6
    assert max(gradient.abs().max() for gradient in our_gradients.values()) > 1e-3

    # 2. four steps
    report = train(
        tmp_path / "begun", comparisons, tmp_path / "ours", style=style, epochs=4, batch_size=24
    )
    theirs.train()
    losses = [entry["loss"] for entry in theirs.state.log_history if "loss" in entry]
    assert len(losses) == report.steps == 4
    ((_, mean_loss),) = report.losses
    assert mean_loss == pytest.approx(sum(losses) / 4, abs=1e-5)
    theirs.save_model(str(tmp_path / "trl"))
    after = weights(tmp_path / "ours/result")
    # Adam magnifies rounding where gradients are near zero
    assert far_apart(after, weights(tmp_path / "trl")) < 1e-4
    assert far_apart(after, weights(tmp_path / "begun")) > 3e-3


def test_the_loss_of_a_step_is_the_plain_mean_with_soft_labels_and_weights(
    qwen: Path, tmp_path: Path
) -> None:
    pairs = [
        comparison(n, prob_a=n / 10, goal=("harmlessness", "helpfulness")[n % 3 == 0])
        for n in range(10)
    ]
    model = PreferenceModel.begin(qwen, style="transcript", seed=0, device="cpu")
    model.save(tmp_path / "begun")
    total = weight = 0.0
    for pair in pairs:
        margin = model.score(pair.prompt, pair.a) - model.score(pair.prompt, pair.b)
        p, q = pair.prob_a, 1 / (1 + math.exp(-margin))
        assert p is not None
        each = -p * math.log(q) - (1 - p) * math.log(1 - q)
        w = 3.0 if pair.goal == "harmlessness" else 1.0
        total, weight = total + w * each, weight + w
    report = train(
        tmp_path / "begun", pairs, tmp_path / "x", batch_size=10, goal_weights={"harmlessness": 3}
    )
    assert report.losses == ((1, pytest.approx(total / weight, abs=1e-6)),)
    assert report.goals == {"harmlessness": 6, "helpfulness": 4}


def test_gradients_added_up_are_those_of_one_batch(
    qwen: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    """Every pair counts alike, also in a part of the batch that is smaller than the others."""
    train(qwen, comparisons, tmp_path / "whole", batch_size=24)
    train(qwen, comparisons, tmp_path / "parts", batch_size=7, accumulate=4)
    whole, parts = (weights(tmp_path / name / "result") for name in ("whole", "parts"))
    # the first step of Adam is the learning rate in the gradient's direction, wherever it is not 0
    apart = [(whole[n] - parts[n]).abs() for n in whole]
    assert sum((a > 1e-5).sum().item() for a in apart) < 0.005 * sum(a.numel() for a in apart)


def test_side_a_and_side_b_are_alike(
    qwen: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    train(qwen, comparisons, tmp_path / "as is", batch_size=24, epochs=3)
    swapped = [pair.swap() for pair in comparisons]
    train(qwen, swapped, tmp_path / "swapped", batch_size=24, epochs=3)
    found = [weights(tmp_path / name / "result") for name in ("as is", "swapped")]
    assert far_apart(*found) < 1e-4


def test_pairs_lie_side_by_side() -> None:
    rows = [
        {"a": [5, 0, 6, 0], "b": [5, 0], "prob_a": 0.25, "weight": 1.0},
        {"a": [0], "b": [5, 5, 5], "prob_a": 1.0, "weight": 2.0},
    ]
    batch = PairBatches(Batching(packs=False))(rows)
    assert batch["rows"].input_ids.tolist() == [[5, 0, 6, 0], [5, 0, 0, 0], [0] * 4, [5, 5, 5, 0]]
    assert batch["rows"].attention_mask.sum(1).tolist() == [4, 2, 1, 3]
    assert PairBatches(Batching(packs=True))(rows)["rows"].input_ids.shape == (1, 7), "5, 0 is once"
    assert batch["labels"].tolist() == [0.25, 1.0]
    assert batch["weights"].tolist() == [1.0, 2.0]


# What comes out


WORDS = ["well", "the", "thing", "is", "that", "may", "so", "and", "then", "more", "can", "tell"]


def polite(n: int) -> Comparison:
    """The answer that holds "thanks" is better, wherever in the answer and however long it is."""
    generator = torch.Generator().manual_seed(n)

    def drawn(limit: int) -> int:
        return int(torch.randint(0, limit, (), generator=generator))

    answers = []
    for word in ("thanks", "sorry"):
        text = [WORDS[drawn(len(WORDS))] for _ in range(2 + drawn(6))]
        text.insert(drawn(len(text)), word)
        answers.append(" ".join(text))
    pair = comparison(n).model_copy(update={"a": answers[0], "b": answers[1], "prob_a": 0.95})
    return pair.swap() if n % 2 else pair


def test_a_simple_rule_is_learned(qwen: Path, tmp_path: Path) -> None:
    """From soft labels; and they calibrate it: 95% is what it then believes."""
    held_out = [polite(n) for n in range(1000, 1100)]
    report = train(
        qwen, [polite(n) for n in range(400)], tmp_path, held_out=held_out, epochs=2,
        batch_size=16, learning_rate=3e-3,
    )  # fmt: skip
    model = PreferenceModel.load(tmp_path / "result", style="transcript", device="cpu")
    found = preference_report(model, held_out)
    assert found.all.accuracy is not None
    assert found.all.accuracy.value > 0.95
    assert found.all.ece is not None
    assert found.all.ece < 0.06
    assert found.all.always_a is not None
    assert found.all.always_a.value == 0.5
    assert report.losses[-1][1] < report.losses[0][1]


def test_the_result_knows_its_moments_and_its_report(
    qwen: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    report = train(qwen, comparisons, tmp_path, style="chat")
    model = PreferenceModel.load(tmp_path / "result", device="cpu")
    raw = [model.score(c.prompt, text) for c in HELD_OUT for text in (c.a, c.b)]
    mean = sum(raw) / len(raw)
    assert model.mean == report.mean == pytest.approx(mean, abs=1e-6)
    assert model.deviation == report.deviation
    assert model.deviation == pytest.approx(torch.tensor(raw).std(correction=0).item(), rel=1e-4)
    assert report.scored == 20
    written = json.loads((tmp_path / "result/preference_training.json").read_text())
    assert (written["comparisons"], written["steps"], written["mean"]) == (24, 3, report.mean)
    assert model.card.style == "chat"


def test_pretraining_comes_first_at_its_own_rate(
    qwen: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    def state(folder: Path) -> list[float]:
        (checkpoint,) = folder.glob("checkpoint-*")
        log = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
        return [entry["learning_rate"] for entry in log]

    pretrain_preference_model(
        qwen,
        comparisons[:16],
        style="transcript",
        config=PretrainingConfig(learning_rate=2e-3, batch_size=8, checkpoint_steps=3),
        work=tmp_path / "pmp",
        seed=0,
        progress=QuietProgress(),
        device="cpu",
    )
    train(tmp_path / "pmp/result", comparisons, tmp_path, checkpoint_steps=2, learning_rate=1e-4)
    first = json.loads((tmp_path / "pmp/result/preference_training.json").read_text())
    assert (first["comparisons"], first["steps"]) == (32, 4)  # binarised
    assert state(tmp_path / "pmp") == [2e-3]
    assert state(tmp_path) == [1e-4]
    moved = far_apart(weights(tmp_path / "pmp/result"), weights(tmp_path / "result"))
    assert 1e-5 < moved < 1e-3


def test_pretraining_on_goodness(qwen: Path) -> None:
    one, two = binarised([comparison(1).model_copy(update={"a": "Yes", "b": "No", "prob_a": 0.9})])
    assert (one.a, one.b, one.prob_a) == ("GOOD:Yes", "BAD:Yes", 0.9)
    assert (two.a, two.b, two.prob_a) == ("BAD:No", "GOOD:No", 0.9)
    assert one.id != two.id


def test_the_seed_decides_every_byte(
    qwen: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    for name, seed in {"a": 1, "b": 1, "c": 2**63 - 1}.items():
        torch.manual_seed(ord(name))
        train(qwen, comparisons, tmp_path / name, seed=seed, lora={"rank": 2})
    a, b, c = (
        (tmp_path / name / "result/model.safetensors").read_bytes() for name in ("a", "b", "c")
    )
    assert a == b
    assert a != c


def test_adapters_leave_the_trunk_and_train_the_head(
    qwen: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    begun = PreferenceModel.begin(qwen, style="chat", seed=0, device="cpu")
    begun.save(tmp_path / "begun")
    lora = {"rank": 2, "target_modules": ["q_proj"]}
    train(tmp_path / "begun", comparisons, tmp_path, style="chat", lora=lora, epochs=2)
    before, after = weights(tmp_path / "begun"), weights(tmp_path / "result")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = {f"model.layers.{n}.self_attn.q_proj.weight" for n in range(2)}
    assert changed == layers | {"score.weight"}


# What is left out or refused


def test_what_is_left_out_is_counted(
    qwen: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    unlabelled = comparison(50, prob_a=None)
    long = comparison(51).model_copy(update={"b": "well " * 300})
    report = train(qwen, [*comparisons, unlabelled, long], tmp_path, max_length=200)
    assert (report.comparisons, report.unlabelled, report.too_long) == (24, 1, 1)
    assert report.goals == {"helpfulness": 24}


def test_nothing_to_train_on_is_an_error(
    qwen: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="of 1 comparisons 1 have no label"):
        train(qwen, [comparison(1, prob_a=None)], tmp_path)
    with pytest.raises(InputError, match="needs held-out comparisons, and there is none"):
        train(qwen, comparisons, tmp_path, held_out=[])


def test_weights_of_goals_must_be_positive() -> None:
    with pytest.raises(ValueError, match="weight of harmlessness must be above 0"):
        PreferenceConfig(goal_weights={"harmlessness": 0})
    assert PreferenceConfig(goal_weights={"harmlessness": 2}).weight("helpfulness") == 1


# Numbers that go wrong, and comparisons that tell nothing


def pmp(model: Path, comparisons: Sequence[Comparison], work: Path) -> TrainingReport:
    return pretrain_preference_model(
        model,
        comparisons,
        style="transcript",
        config=PretrainingConfig(binarise=False),
        work=work,
        seed=0,
        progress=QuietProgress(),
        device="cpu",
    )


def broken(model: Path, folder: Path) -> Path:
    """A copy with one weight that is infinite."""
    network = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        network.model.layers[0].mlp.up_proj.weight[0, 0] = math.inf
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", [train, pmp])
def test_what_is_no_number_stops_with_the_step_and_its_comparisons(
    kind: Any, llama: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    model = broken(llama, tmp_path / "broken")
    with pytest.raises(TrainingError, match=r"step 1: .*comparison \d+, .*no checkpoint was"):
        kind(model, comparisons, tmp_path / "work")


@pytest.mark.parametrize("kind", [train, pmp])
def test_comparisons_that_tell_nothing_are_refused(
    kind: Any, llama: Path, comparisons: list[Comparison], tmp_path: Path
) -> None:
    equal = [c.model_copy(update={"b": c.a}) for c in comparisons]
    with pytest.raises(InputError, match=r"all \d+ comparisons have two equal answers"):
        kind(llama, equal, tmp_path / "equal")
    even = [c.model_copy(update={"prob_a": 0.5}) for c in comparisons]
    with pytest.raises(InputError, match=r"all \d+ comparisons have a label of one half"):
        kind(llama, even, tmp_path / "even")


def test_one_sided_labels_and_equal_answers_are_told() -> None:
    stream = io.StringIO()
    check_pairs([(False, 1.0), (True, 0.9)], ["1", "2"], Progress(stream), "A model")
    told = " ".join(stream.getvalue().split())
    assert "A model: 1 of 2 comparisons have two equal answers" in told
    assert "all 2 labels prefer the first answer" in told
    stream = io.StringIO()
    check_pairs([(False, 1.0), (False, 0.1)], ["1", "2"], Progress(stream), "A model")
    assert stream.getvalue() == ""
