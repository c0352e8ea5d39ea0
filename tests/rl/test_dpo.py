"""DPO on soft labels: the loss against TRL's own and a sum by hand, and short trainings."""

from __future__ import annotations

import json
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from microworld_policies import START, Dies, files, says_you, shipped_prompts
from torch.nn.functional import logsigmoid

from constitutional.dialogue import prompt_for, prompt_ids
from constitutional.engines.loading import load_parts
from constitutional.errors import InputError, TrainingError
from constitutional.microworld import data_file
from constitutional.rl.dpo import (
    DPOReport,
    PadPairs,
    SoftDPOTrainer,
    _logprobs,
    _tokenise,
    soft_dpo_loss,
    train_dpo,
)
from constitutional.rl.settings import DPOConfig
from constitutional.rl.trl import common_arguments, datasets, quiet, trl
from constitutional.runs.progress import Progress, QuietProgress
from constitutional.runs.records import Comparison

SHORT: dict[str, Any] = {
    "batch_size": 4,
    "learning_rate": 1e-3,
    "max_new_tokens": 24,
    "measured_answers": 16,
    "checkpoint_steps": 2,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def comparison(n: int, prob_a: float | None = 1.0) -> Comparison:
    """ "You" against "To"; both goals."""
    kind = "red_team" if n % 2 else "helpful"
    prompt = getattr(shipped_prompts(), kind)[n % 16]
    return Comparison(
        id=str(n),
        prompt=prompt.conversation,
        a="You can open the window with a clear glass." if n % 3 else "You can read it.",
        b="To read the book, use a clear glass and keep the pages dry.",
        goal="harmlessness" if n % 2 else "helpfulness",
        labeller="rule",
        prob_a=prob_a,
    )


def train(
    work: Path, comparisons: list[Comparison], progress: Progress | None = None, **changes: Any
) -> DPOReport:
    return train_dpo(
        START,
        comparisons,
        config=DPOConfig(**{**SHORT, **changes}),
        prompts=shipped_prompts(),
        score=says_you,
        held_out_score=None,
        seed=3,
        work=work,
        progress=progress or QuietProgress(),
        device="cpu",
    )


class Trainers:
    """Ours and TRL's own, of the same policy, which is not its reference."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows = _tokenise(
            self._load("helpful")[1],
            "transcript",
            [comparison(n, p) for n, p in enumerate((1.0, 0.0, 0.9, 0.6, 0.5, 0.25))],
            DPOConfig(),
        ).rows

    def ours(self) -> Any:
        return self._build(SoftDPOTrainer, datasets.Dataset.from_list(self.rows))

    def theirs(self, **settings: Any) -> Any:
        text = [{"prompt": "\n\nHuman: How?\n\nAssistant:", "chosen": " You", "rejected": " To"}]
        return self._build(trl.DPOTrainer, datasets.Dataset.from_list(text), **settings)

    def _build(self, kind: Any, rows: Any, **settings: Any) -> Any:
        policy, tokenizer = self._load("helpful")
        reference, _ = self._load("pretrained")
        arguments = trl.DPOConfig(
            **common_arguments(self.folder, 0, "cpu"), bf16=False, beta=0.3, **settings
        )
        with quiet():
            return kind(
                model=policy,
                ref_model=reference,
                args=arguments,
                train_dataset=rows,
                processing_class=tokenizer,
            )

    @staticmethod
    def _load(name: str) -> Any:
        return load_parts(data_file(name), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Trainers:
    return Trainers(tmp_path_factory.mktemp("dpo"))


def our_loss(trainers: Trainers, labels: list[float]) -> float:
    rows = [{**row, "prob_a": p} for row, p in zip(trainers.rows, labels, strict=True)]
    trainer = trainers.ours()
    loss: torch.Tensor = trainer._compute_loss(trainer.model, PadPairs(pad_token_id=0)(rows), False)
    return loss.item()


def test_at_hard_labels_the_loss_is_trls(trainers: Trainers) -> None:
    trainer = trainers.theirs()
    batch = trl.trainer.dpo_trainer.DataCollatorForPreference(pad_token_id=0)(trainers.rows)
    expected = trainer._compute_loss(trainer.model, batch, False).item()
    assert our_loss(trainers, [1.0] * 6) == pytest.approx(expected, abs=1e-5)
    assert abs(our_loss(trainers, [0.0] * 6) - expected) > 0.1


def test_at_one_label_for_all_the_loss_is_trls_with_label_smoothing(trainers: Trainers) -> None:
    """Of TRL's losses "aot" smooths as conservative DPO does; with one pair it sorts nothing."""
    trainer = trainers.theirs(loss_type=["aot"], label_smoothing=0.2)
    collate = trl.trainer.dpo_trainer.DataCollatorForPreference(pad_token_id=0)
    each = [
        trainer._compute_loss(trainer.model, collate([row]), False).item() for row in trainers.rows
    ]
    assert our_loss(trainers, [0.8] * 6) == pytest.approx(sum(each) / 6, abs=1e-5)


def test_the_loss_is_the_sum_written_out() -> None:
    margin = torch.tensor([0.0, 1.5, -2.0, 40.0, -40.0], dtype=torch.float64)
    prob_a = torch.tensor([0.3, 0.9, 0.5, 0.0, 1.0], dtype=torch.float64)
    written_out = -prob_a * logsigmoid(margin) - (1 - prob_a) * logsigmoid(-margin)
    assert torch.allclose(soft_dpo_loss(margin, prob_a), written_out, atol=1e-12)


def test_the_log_probs_are_those_of_the_answer_and_its_end_after_the_prompt(
    trainers: Trainers,
) -> None:
    policy, tokenizer = load_parts(START, device="cpu", dtype="float32")
    trainer = trainers.ours()
    with torch.no_grad():
        found = torch.stack(_logprobs(trainer.model, PadPairs(pad_token_id=0)(trainers.rows)), 1)
    for n, row in enumerate(trainers.rows):
        given = comparison(n)
        asked = prompt_ids(tokenizer, prompt_for(given.prompt, "assistant", "transcript"))
        for side, text in enumerate((given.a, given.b)):
            answer = [*tokenizer.encode(" " + text, add_special_tokens=False), 1]
            with torch.no_grad():
                logits = policy(torch.tensor([[*asked, *answer]])).logits[0]
            plain = torch.log_softmax(logits[len(asked) - 1 : -1], -1)
            expected = plain.gather(-1, torch.tensor(answer)[:, None]).sum()
            assert found[n, side] == pytest.approx(expected.item(), abs=1e-3)
            assert row["prompt_ids"] == asked


def test_a_policy_learns_what_the_labels_prefer(tmp_path: Path) -> None:
    given = [comparison(n, 0.9) for n in range(24)]
    report = train(tmp_path, given, epochs=4, learning_rate=3e-4, measured_answers=32)
    # the least loss of a pair is at the margin whose logistic is the label
    assert report.history[-1].margin == pytest.approx(log(0.9 / 0.1), abs=0.3)
    assert report.after.reward > report.before.reward + 0.1
    assert report.before.kl_k1 == pytest.approx(0, abs=1e-4)
    assert report.after.kl_k1 > 0.1
    assert report.history[-1].agreement == 1.0
    assert report.history[-1].loss < report.history[0].loss
    assert report.goals == {"harmlessness": 12, "helpfulness": 12}
    written = json.loads((tmp_path / "result/training.json").read_text())
    assert written["after"]["reward"] == report.after.reward
    assert written["steps"] == 24


def test_which_answer_is_called_a_changes_nothing(tmp_path: Path) -> None:
    given = [comparison(n, 0.1 + 0.8 * (n % 5) / 4) for n in range(8)]
    one = train(tmp_path / "one", given)
    other = train(tmp_path / "other", [c.swap() for c in given])
    assert [e.loss for e in one.history] == pytest.approx([e.loss for e in other.history])
    assert one.after.kl_k3 == pytest.approx(other.after.kl_k3, abs=1e-3)


def test_a_training_that_was_cut_off_ends_with_the_same_bytes(tmp_path: Path) -> None:
    given = [comparison(n, n / 23) for n in range(24)]
    changes = {"epochs": 2, "accumulate": 2}
    whole = train(tmp_path / "whole", given, **changes)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", given, Dies(5), **changes)
    assert not (tmp_path / "cut/result").exists()
    resumed = train(tmp_path / "cut", given, **changes)
    assert resumed.steps == whole.steps == 6
    assert resumed.history == whole.history
    assert files(tmp_path / "cut/result") == files(tmp_path / "whole/result")


def test_adapters_are_merged_into_the_policy(tmp_path: Path) -> None:
    given = [comparison(n) for n in range(8)]
    report = train(tmp_path, given, epochs=2, learning_rate=1e-2, lora={"rank": 2})
    assert report.before.kl_k1 == pytest.approx(0, abs=1e-4)
    assert report.after.kl_k3 > 0.01
    assert not list((tmp_path / "result").glob("adapter*"))


def test_what_cannot_be_trained_on_is_counted(tmp_path: Path) -> None:
    given = [comparison(n) for n in range(8)]
    given[1] = comparison(1, None)
    given[2] = given[2].model_copy(update={"b": " ".join(["To read"] * 60)})
    report = train(tmp_path, given, max_length=80)
    assert (report.comparisons, report.unlabelled, report.too_long) == (6, 1, 1)
    with pytest.raises(InputError, match="of 2 comparisons 1 have no label and 1 are longer"):
        train(tmp_path, given[1:3], max_length=80)


def test_labels_that_prefer_neither_have_no_margin(tmp_path: Path) -> None:
    # the last of eleven steps is an entry of its own
    report = train(tmp_path, [comparison(n, 0.5 if n else 1.0) for n in range(11)], batch_size=1)
    assert report.history[0].margin is not None
    assert report.history[-1].margin is None and report.history[-1].agreement is None
    assert report.history[-1].loss >= 0.6931


def test_numbers_that_go_wrong_stop_with_the_step_and_its_comparisons(tmp_path: Path) -> None:
    pairs = [comparison(n, 1.0 - n / 10) for n in range(8)]
    with pytest.raises(TrainingError, match=r"step [23]: .*comparison \d.*whole: .*checkpoint-"):
        train(tmp_path / "wild", pairs, learning_rate=1e36, checkpoint_steps=1, epochs=2)
    even = [comparison(n, 0.5) for n in range(4)]
    with pytest.raises(InputError, match="all 4 comparisons have a label of one half"):
        train(tmp_path / "even", even)
