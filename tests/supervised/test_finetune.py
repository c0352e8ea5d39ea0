from __future__ import annotations

import io
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from constitutional.dialogue import Conversation
from constitutional.dialogue.tokens import TokenizedExample, encode_example
from constitutional.engines import SamplingParams, Style, TextPrompt, load_engine
from constitutional.errors import InputError, MissingExtraError, TrainingError
from constitutional.packing import Batching, PackedRows
from constitutional.runs.progress import Progress, QuietProgress
from constitutional.supervised.finetune import (
    IGNORED,
    ExampleBatches,
    Examples,
    FinetuneReport,
    finetune,
)
from constitutional.supervised.settings import FinetuneConfig
from constitutional.training import Shuffled


def trained(
    model: Path,
    conversations: Sequence[Conversation],
    work: Path,
    *,
    style: Style = "transcript",
    seed: int = 0,
    **config: Any,
) -> FinetuneReport:
    return finetune(
        model,
        conversations,
        style=style,
        config=FinetuneConfig(**{"learning_rate": 1e-2, "batch_size": 8} | config),
        work=work,
        seed=seed,
        progress=QuietProgress(),
        device="cpu",
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return loaded


def far_apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The largest difference of any weight."""
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


# What a step computes


def test_the_loss_is_the_mean_over_the_tokens_of_the_last_turn(
    llama: Path,
    tokenizer: PreTrainedTokenizerFast,
    conversations: list[Conversation],
    tmp_path: Path,
) -> None:
    """Summed up example by example, without padding, by the definition."""
    network = AutoModelForCausalLM.from_pretrained(llama).eval()
    total, count = 0.0, 0
    for conversation in conversations:
        example = encode_example(tokenizer, conversation, "transcript", 2048)
        with torch.no_grad():
            logits = network(torch.tensor([example.input_ids])).logits[0]
        log_probs = logits.log_softmax(-1)
        for at in range(1, len(example.input_ids)):
            if example.loss[at]:
                total -= log_probs[at - 1, example.input_ids[at]].item()
                count += 1
    report = trained(llama, conversations, tmp_path, batch_size=20)
    assert report.target_tokens == count
    assert report.steps == 1
    ((step, loss),) = report.losses
    assert step == 1
    assert loss == pytest.approx(total / count, rel=1e-6)


def test_gradients_added_up_are_those_of_one_batch(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    """Every token counts alike, in whatever part of the batch it stands."""
    one = trained(llama, conversations, tmp_path / "whole", batch_size=20)
    four = trained(llama, conversations, tmp_path / "parts", batch_size=6, accumulate=4)
    assert (one.steps, four.steps) == (1, 1)
    assert four.losses[0][1] == pytest.approx(one.losses[0][1], abs=1e-6)
    whole, parts = (weights(tmp_path / name / "result") for name in ("whole", "parts"))
    assert far_apart(whole, parts) < 1e-4  # Adam magnifies rounding where gradients are near zero
    assert far_apart(whole, weights(llama)) > 1e-3


@pytest.mark.parametrize("form", ["chat", "masks"])
@pytest.mark.parametrize("model", ["llama", "qwen"])
def test_training_equals_that_of_trl(
    model: str,
    form: str,
    request: pytest.FixtureRequest,
    conversations: list[Conversation],
    tmp_path: Path,
) -> None:
    """Same weights, data and batches: the losses and the weights after five steps.

    ``chat``: TRL tokenises and masks by the template itself. ``masks``: it is given our ids.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    folder: Path = request.getfixturevalue(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    style: Style = "chat" if form == "chat" else "transcript"
    ours = trained(folder, conversations, tmp_path / "ours", style=style, batch_size=20, epochs=5)

    rows: list[dict[str, Any]]
    if form == "chat":
        roles = ("user", "assistant")
        rows = [
            {
                "messages": [
                    {"role": role, "content": turn.text}
                    for role, turn in zip(roles, conversation.turns, strict=True)
                ]
            }
            for conversation in conversations
        ]
    else:
        examples = [encode_example(tokenizer, c, style, 2048) for c in conversations]
        rows = [{"input_ids": e.input_ids, "completion_mask": e.loss} for e in examples]
    settings = SFTConfig(
        output_dir=str(tmp_path / "trl"),
        num_train_epochs=5,
        per_device_train_batch_size=20,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        assistant_only_loss=form == "chat",
        completion_only_loss=form == "masks",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        bf16=False,
        use_cpu=True,
        disable_tqdm=True,
        max_length=None,
    )
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = SFTTrainer(
        model=network,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    theirs.train()
    losses = [entry["loss"] for entry in theirs.state.log_history if "loss" in entry]
    assert len(losses) == ours.steps == 5
    ((_, mean_loss),) = ours.losses
    assert mean_loss == pytest.approx(sum(losses) / 5, abs=1e-6)
    assert losses[-1] < losses[0] - 0.5  # so that five steps tell something
    theirs.save_model(str(tmp_path / "trl"))
    # The order within the one batch differs, and Adam magnifies rounding where gradients are near
    # zero.
    assert far_apart(weights(tmp_path / "ours/result"), weights(tmp_path / "trl")) < 1e-4


def test_learning_rate_is_constant_after_the_warmup(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    trained(
        llama, conversations, tmp_path, batch_size=4, epochs=2, warmup_steps=4, checkpoint_steps=1
    )
    state = json.loads((tmp_path / "checkpoint-9/trainer_state.json").read_text())
    rates = [entry["learning_rate"] for entry in state["log_history"]]
    assert rates == pytest.approx([1e-2 * part for part in (0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1)])


@pytest.mark.parametrize(
    ("schedule", "parts"),
    [
        ("linear", [step / 8 for step in range(8, 0, -1)]),
        ("cosine", [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]),
    ],
)
def test_learning_rate_may_fall_to_zero(
    llama: Path,
    conversations: list[Conversation],
    tmp_path: Path,
    schedule: str,
    parts: list[float],
) -> None:
    settings = {"batch_size": 4, "epochs": 2, "warmup_steps": 2, "checkpoint_steps": 1}
    trained(llama, conversations, tmp_path, schedule=schedule, **settings)
    state = json.loads((tmp_path / "checkpoint-9/trainer_state.json").read_text())
    rates = [entry["learning_rate"] for entry in state["log_history"]]
    assert rates == pytest.approx([1e-2 * part for part in [0, 0.5, *parts[:7]]])


# Batches


def test_labels_are_the_last_turn_and_padding_is_by_position() -> None:
    """The end token, which is the pad token too, stays a target."""
    long = TokenizedExample([5, 6, 7, 0], [False, True, True, True], cut=False)
    short = TokenizedExample([5, 0], [False, True], cut=False)
    batch = ExampleBatches(Batching(packs=False))(
        [Examples([long, short], [1, 2])[index] for index in range(2)]
    )
    assert batch["rows"].input_ids.tolist() == [[5, 6, 7, 0], [5, 0, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7, 0], [IGNORED, 0, IGNORED, IGNORED]]
    assert batch["rows"].attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_each_pass_has_an_order_of_its_own() -> None:
    seeds = iter([1, 2, 1])
    sampler = Shuffled(400, seed=lambda: next(seeds))
    orders = [list(sampler) for _ in range(3)]
    assert all(sorted(order) == list(range(400)) for order in orders)
    assert orders[0] == orders[2] != orders[1]


def test_the_trainer_follows_that_order(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spread over two epochs: each example once an epoch."""
    seen: list[PackedRows] = []
    collate = ExampleBatches.__call__

    def watched(self: ExampleBatches, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(self, examples)
        seen.append(batch["rows"])
        return batch

    monkeypatch.setattr(ExampleBatches, "__call__", watched)
    varied = [
        Conversation.of(f"Say {n} words.", "well " * (n * 7 % 20) + "done") for n in range(64)
    ]
    trained(llama, varied, tmp_path, batch_size=4, epochs=2)
    assert len(seen) == 32
    rows = [[tuple(batch.input_ids[0, batch.row(n)].tolist()) for n in range(4)] for batch in seen]
    first, second = ([row for batch in half for row in batch] for half in (rows[:16], rows[16:]))
    assert len(set(first)) == 64
    assert set(first) == set(second)
    assert first != second


# What comes out


def test_the_model_learns_to_answer_and_to_stop(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    """Its pad token is its end token: a mask by token would leave the end untrained."""
    settings = {"epochs": 200, "batch_size": 20, "schedule": "cosine", "checkpoint_steps": 1000}
    trained(llama, conversations, tmp_path, **settings)
    engine = load_engine(tmp_path / "result", style="transcript")
    prompts = [TextPrompt(f"\n\nHuman: {c.turns[0].text}\n\nAssistant:") for c in conversations]
    params = SamplingParams(max_new_tokens=60, temperature=0)
    found = engine.sample(prompts, params, [0] * len(prompts))
    assert [c.ended for c in found] == ["eos"] * 20
    right = [c.text == f" {said.last.text}" for c, said in zip(found, conversations, strict=True)]
    assert sum(right) >= 18


def test_the_result_is_a_plain_folder_with_its_report(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    report = trained(llama, conversations, tmp_path, epochs=3)
    result = tmp_path / "result"
    network = AutoModelForCausalLM.from_pretrained(result)
    assert type(network).__name__ == "LlamaForCausalLM"
    assert network.dtype == torch.float32
    kept, base = AutoTokenizer.from_pretrained(result), AutoTokenizer.from_pretrained(llama)
    assert kept.get_vocab() == base.get_vocab()
    assert kept.chat_template == base.chat_template
    assert (report.examples, report.too_long, report.steps) == (20, 0, 9)
    assert [step for step, _ in report.losses] == [9]
    written = json.loads((result / "finetune.json").read_text())
    assert written["steps"] == 9
    assert written["losses"] == [list(pair) for pair in report.losses]


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_snapshots_are_the_model_on_its_way(
    llama: Path, conversations: list[Conversation], tmp_path: Path, lora: dict[str, int] | None
) -> None:
    """A snapshot is what a training of so many steps ends with; none is kept of the last step."""
    config: dict[str, Any] = {"batch_size": 4, "lora": lora, "seed": 3}
    trained(llama, conversations, tmp_path / "long", epochs=2, snapshot_steps=5, **config)
    trained(llama, conversations, tmp_path / "short", **config)
    trained(llama, conversations, tmp_path / "plain", epochs=2, **config)
    result = tmp_path / "long/result"
    assert [path.name for path in (result / "snapshots").iterdir()] == ["step-5"]
    assert AutoTokenizer.from_pretrained(result / "snapshots/step-5").get_vocab()
    short, plain = (weights(tmp_path / name / "result") for name in ("short", "plain"))
    assert far_apart(weights(result / "snapshots/step-5"), short) == 0
    assert far_apart(weights(result), plain) == 0, "keeping them changes nothing"
    assert far_apart(plain, short) > 0


def test_the_seed_decides_every_byte(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    """Adapters begin at random, so that they show whether the seed is set in time."""
    config: dict[str, Any] = {"batch_size": 4, "lora": {"rank": 4}}
    for name, seed in {"a": 1, "b": 1, "c": 2**63}.items():
        torch.manual_seed(ord(name))
        trained(llama, conversations, tmp_path / name, seed=seed, **config)
    a, b, c = (
        (tmp_path / name / "result/model.safetensors").read_bytes() for name in ("a", "b", "c")
    )
    assert a == b
    assert a != c


def test_adapters_are_merged_into_a_plain_model(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    lora = {"rank": 4, "target_modules": ["q_proj"]}
    trained(llama, conversations, tmp_path, lora=lora, epochs=2)
    result = tmp_path / "result"
    assert not list(result.glob("adapter_*")), "transformers would put them on once more"
    base, found = weights(llama), weights(result)
    assert base.keys() == found.keys()
    changed = {name for name in base if not torch.equal(base[name], found[name])}
    assert changed == {f"model.layers.{n}.self_attn.q_proj.weight" for n in range(2)}
    change = (
        found["model.layers.0.self_attn.q_proj.weight"]
        - base["model.layers.0.self_attn.q_proj.weight"]
    )
    assert torch.linalg.matrix_rank(change, rtol=1e-3) <= 4
    load_engine(result)


# What is refused or counted


def test_examples_that_are_too_long_are_left_out_and_counted(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    long = Conversation.of("Go on?", "well " * 100)
    report = trained(llama, [*conversations, long], tmp_path, max_length=100)
    assert (report.examples, report.too_long) == (20, 1)


@pytest.mark.parametrize("given", [[], [Conversation.of("Hm?", "well " * 40)]])
def test_nothing_to_train_on_is_an_error(
    given: list[Conversation], llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"nothing to train on: {len(given)} examples"):
        trained(llama, given, tmp_path, max_length=32)


def test_missing_peft_is_one_sentence(
    llama: Path, conversations: list[Conversation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError) as caught:
        trained(llama, conversations, tmp_path, lora={"rank": 4})
    assert str(caught.value) == (
        "finetuning with LoRA needs peft, which is not installed: "
        "pip install 'constitutional[lora]'"
    )


def test_adapters_for_layers_that_are_not_there_are_an_error(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="nowhere"):
        trained(llama, conversations, tmp_path, lora={"target_modules": ["nowhere"]})


# Numbers that go wrong


def test_weights_that_run_away_stop_at_the_step_with_its_records_and_the_checkpoint_before(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    # the rate rises from 0 to 1e38 in two steps: the first learns nothing, the second all
    with pytest.raises(TrainingError) as caught:
        trained(
            llama,
            conversations[:8],
            tmp_path,
            batch_size=2,
            epochs=2,
            learning_rate=1e38,
            warmup_steps=2,
            checkpoint_steps=1,
        )
    found = re.search(r"step (\d): .*; the batch is (.*); the checkpoint before", str(caught.value))
    assert found is not None and int(found[1]) > 1
    named = re.findall(r"conversation (\d)", found[2])
    assert len(set(named)) == 2 and set(named) <= set("12345678")
    before = tmp_path / f"checkpoint-{int(found[1]) - 1}"
    assert f"whole: {before}; look at" in str(caught.value)
    assert not (tmp_path / f"checkpoint-{found[1]}").exists()
    assert all(torch.isfinite(weight).all() for weight in weights(before).values())
    assert not (tmp_path / "result").exists()


def test_a_model_whose_weights_are_broken_stops_at_the_first_step(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    broken = AutoModelForCausalLM.from_pretrained(llama)
    with torch.no_grad():
        broken.model.layers[0].mlp.up_proj.weight[0, 0] = math.inf
    broken.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(llama).save_pretrained(tmp_path / "broken")
    says = r"step 1: the loss is nan; .*conversation \d.*no checkpoint was written"
    with pytest.raises(TrainingError, match=says):
        trained(tmp_path / "broken", conversations[:8], tmp_path / "work")


def test_a_gradient_whose_norm_is_infinite_stops_where_the_loss_is_a_number(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    steep = AutoModelForCausalLM.from_pretrained(llama)
    with torch.no_grad():  # log-probabilities of -1e25, whose squares no float32 holds
        steep.lm_head.weight *= 1e25
    steep.save_pretrained(tmp_path / "steep")
    AutoTokenizer.from_pretrained(llama).save_pretrained(tmp_path / "steep")
    with pytest.raises(TrainingError, match=r"step 1: the norm of the gradient is inf; .*tion \d"):
        trained(tmp_path / "steep", conversations[:8], tmp_path / "work")


def test_a_last_step_that_breaks_the_weights_leaves_no_result(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    # one step of 1e39, which no float32 holds
    with pytest.raises(TrainingError, match="no longer finite numbers"):
        trained(llama, conversations[:8], tmp_path, learning_rate=1e39)
    assert not (tmp_path / "result").exists()


def test_answers_that_say_nothing_are_told_and_not_learned_alone(
    llama: Path, conversations: list[Conversation], tmp_path: Path
) -> None:
    silent = [Conversation.of("What is this?", "")] * 4
    with pytest.raises(InputError, match="all 4 answers to train on are empty"):
        trained(llama, silent, tmp_path / "silent")
    stream = io.StringIO()
    finetune(
        llama,
        [*silent, *conversations[:4]],
        style="transcript",
        config=FinetuneConfig(batch_size=8),
        work=tmp_path / "some",
        seed=0,
        progress=Progress(stream),
        device="cpu",
    )
    assert "4 of 8 answers are empty" in stream.getvalue()
