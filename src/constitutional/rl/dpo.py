"""DPO on soft labels by TRL's trainer: a policy from comparisons, without a preference model.

The loss of a pair is -p log s(m) - (1 - p) log s(-m), with m = beta (log-ratio of a - log-ratio of
b), s the logistic function and p the labeller's probability that a is better. At p = 1 it is the
published loss (Rafailov et al. 2023, arXiv 2305.18290, eq. 7); where all p are the same it is
conservative DPO with a label smoothing of 1 - p. TRL 1.16 smooths no labels in this loss, and has
no place for a label of each pair; therefore the loss is taken here, from the log-probs that its
trainer computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PrinterCallback

from constitutional.adapters import merged, quantize_of, with_adapters
from constitutional.dialogue.tokens import encode_example
from constitutional.engines.base import Style
from constitutional.engines.loading import chosen_device, load_parts
from constitutional.engines.local import LocalEngine
from constitutional.errors import InputError
from constitutional.rl.measure import Measured, Rollouts
from constitutional.rl.ppo import Score
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import DPOConfig
from constitutional.rl.trl import (
    DataCollatorForPreference,
    Offline,
    common_arguments,
    datasets,
    quiet,
    save_result,
    trl,
)
from constitutional.runs.progress import Progress
from constitutional.runs.records import Comparison
from constitutional.training import (
    SNAPSHOTS,
    Steps,
    last_checkpoint,
    recompute_activations,
    tell_left_out,
)
from constitutional.training_checks import NUMBERS, Watched, check_pairs


@dataclass(frozen=True)
class DPOStep:
    """Means over the comparisons since the last entry.

    ``loss`` is at least the entropy of the labels. ``margin`` is m where the label prefers a, -m
    where it prefers b; ``agreement`` is the share of pairs in which it is above 0. Labels of 0.5
    prefer neither and count for the loss alone; without others both are None.
    """

    step: int
    loss: float
    margin: float | None
    agreement: float | None


@dataclass(frozen=True)
class DPOReport:
    """What a training did. ``before`` and ``after`` are answers to the same prompts and draws."""

    algorithm: str
    steps: int
    ended: str
    comparisons: int
    goals: dict[str, int]
    unlabelled: int
    too_long: int
    before: Measured
    after: Measured
    history: tuple[DPOStep, ...]


def train_dpo(
    start: str | Path,
    comparisons: Sequence[Comparison],
    *,
    config: DPOConfig,
    prompts: Prompts,
    score: Score,
    held_out_score: Score | None,
    seed: int,
    work: Path,
    progress: Progress,
    device: str = "auto",
    style: Literal["auto", "transcript", "chat"] = "auto",
    engine_batch_size: int = 128,
) -> DPOReport:
    """Train the policy ``start``, which is the reference too; leaves ``work / "result"``.

    The preference model is not trained against: its ``score`` measures answers to some of
    ``prompts`` before and after, as in PPO. A call that was killed goes on from its last complete
    checkpoint in ``work`` and, on a CPU, ends with the same bytes. Raises InputError when no
    comparison is left to train on.
    """
    quantize = quantize_of(config.lora)
    policy, tokenizer = load_parts(start, device=device, dtype="float32", quantize=quantize)
    reference, _ = load_parts(start, device=device, dtype="float32", quantize=quantize)
    reference.requires_grad_(False)
    engine = partial(
        LocalEngine, tokenizer=tokenizer, name="policy", style=style, batch_size=engine_batch_size
    )
    data = _tokenise(tokenizer, engine(policy).style, comparisons, config)

    def measured(network: Any) -> Measured:
        rollouts = Rollouts(
            engine=engine(network),
            tokenizer=tokenizer,
            reference=reference,
            score=score,
            held_out_score=held_out_score,
            max_new_tokens=config.max_new_tokens,
            rows=config.batch_size,
            seed=seed,
        )
        asked = prompts.batch(0, config.measured_answers, config.red_team_share, seed)
        return rollouts.answer(asked, 0).measured

    _check(data, config, progress)
    before = measured(reference)
    trainer = _train(policy, reference, tokenizer, data, config, seed, work, progress, device)
    trained = trainer.model
    if config.lora:
        trained = merged(
            trained, config.lora, lambda: load_parts(start, device=device, dtype="stored")[0]
        )
    report = DPOReport(
        algorithm="dpo",
        steps=trainer.state.global_step,
        ended="all steps done",
        comparisons=len(data.rows),
        goals=dict(sorted(data.goals.items())),
        unlabelled=data.unlabelled,
        too_long=data.too_long,
        before=before,
        after=measured(trained),
        history=_history(trainer),
    )
    save_result(work, trained, tokenizer, asdict(report))
    return report


def soft_dpo_loss(margin: Tensor, prob_a: Tensor) -> Tensor:
    """The loss of each pair, (pairs,), from m and p of this module's first lines, (pairs,)."""
    return binary_cross_entropy_with_logits(margin, prob_a, reduction="none")


class SoftDPOTrainer(Watched, Offline, trl.DPOTrainer):  # type: ignore[misc]  # TRL is not typed
    """TRL's trainer with a label for each pair; of "chosen" and "rejected" read a and b."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool) -> Tensor:
        prob_a = inputs.pop("prob_a")
        ours = _logprobs(model, inputs)
        theirs = self.compute_ref_log_probs(self.ref_model, inputs)
        margin = self.beta * ((ours[0] - theirs[0]) - (ours[1] - theirs[1]))
        self._note(margin.detach(), prob_a)
        return soft_dpo_loss(margin, prob_a).mean()

    def _note(self, margin: Tensor, prob_a: Tensor) -> None:
        told = prob_a != 0.5
        signed = torch.where(prob_a > 0.5, margin, -margin)[told]
        if len(signed):
            metrics = self._metrics["train" if self.model.training else "eval"]
            metrics["margin"].append(signed.mean().item())
            metrics["agreement"].append((signed > 0).float().mean().item())


class PadPairs(DataCollatorForPreference):  # type: ignore[misc]  # TRL is not typed
    """TRL's batch of pairs, every a and then every b, with their labels."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch."""
        labels = torch.tensor([example["prob_a"] for example in examples], dtype=torch.float32)
        numbers = torch.tensor([example["number"] for example in examples])
        return {**super().torch_call(examples), "prob_a": labels, NUMBERS: numbers}


def _logprobs(model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The log-probabilities of every a and of every b, each (pairs,)."""
    found = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        labels=inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100),
        fused_lm_head=True,
    ).log_probs.sum(dim=1)
    a, b = found.chunk(2)
    return a, b


@dataclass
class _Pairs:
    """Tokenised comparisons, and what was left out."""

    rows: list[dict[str, Any]]
    goals: Counter[str]
    ids: list[str] = field(default_factory=list)
    unlabelled: int = 0
    too_long: int = 0
    too_long_tokens: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def name(self, index: int) -> str:
        """The comparison's id."""
        return f"comparison {self.ids[index]}"


def _tokenise(
    tokenizer: Any, style: Style, comparisons: Sequence[Comparison], config: DPOConfig
) -> _Pairs:
    data = _Pairs([], Counter())
    for comparison in comparisons:
        if comparison.prob_a is None:
            data.unlabelled += 1
            continue
        a, b = (
            encode_example(
                tokenizer, comparison.prompt.add("assistant", text), style, config.max_length
            )
            for text in (comparison.a, comparison.b)
        )
        if a.cut or b.cut:
            data.too_long += 1
            data.too_long_tokens += len(a.input_ids) + len(b.input_ids)
            continue
        begin = a.loss.index(True)
        data.rows.append(
            {
                "prompt_ids": a.input_ids[:begin],
                "chosen_ids": a.input_ids[begin:],
                "rejected_ids": b.input_ids[begin:],
                "prob_a": comparison.prob_a,
                "number": len(data.rows),
            }
        )
        data.ids.append(comparison.id)
        data.goals[comparison.goal] += 1
    if not data.rows:
        raise InputError(
            f"there is nothing to train on: of {len(comparisons)} comparisons {data.unlabelled} "
            f"have no label and {data.too_long} are longer than max_length {config.max_length}"
        )
    return data


def _check(data: _Pairs, config: DPOConfig, progress: Progress) -> None:
    """Say what was left out, and what is odd about the rest."""
    among, tokens = len(data.rows) + data.too_long, data.too_long_tokens
    tell_left_out(progress, "DPO", data.too_long, among, tokens, config.max_length)
    told = ((row["chosen_ids"] == row["rejected_ids"], row["prob_a"]) for row in data.rows)
    check_pairs(told, data.ids, progress, "DPO")


def _history(trainer: Any) -> tuple[DPOStep, ...]:
    return tuple(
        DPOStep(e["step"], e["loss"], e.get("margin"), e.get("agreement"))
        for e in trainer.state.log_history
        if "loss" in e
    )


def _train(
    policy: Any,
    reference: Any,
    tokenizer: Any,
    data: _Pairs,
    config: DPOConfig,
    seed: int,
    work: Path,
    progress: Progress,
    device: str,
) -> Any:
    """TRL's trainer at its end."""
    if config.lora:
        policy = with_adapters(policy, config.lora, seed, what="DPO")
    if config.gradient_checkpointing:
        recompute_activations(policy)
    here = work / "dpo"
    with ExitStack() as shown, quiet():
        arguments = trl.DPOConfig(
            **common_arguments(here, seed, device),
            bf16=chosen_device(device).type == "cuda",
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.accumulate,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_steps,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            beta=config.beta,
            logging_steps=10,
            save_steps=config.checkpoint_steps,
        )
        trainer = SoftDPOTrainer(
            model=policy.train(),
            ref_model=reference,
            args=arguments,
            train_dataset=datasets.Dataset.from_list(data.rows),
            # the masks come from lengths, so that what fills up a batch does not matter
            data_collator=PadPairs(pad_token_id=0),
            processing_class=tokenizer,
            callbacks=[Steps(partial(progress.task, "DPO"), shown)],
        )
        trainer.remove_callback(PrinterCallback)  # standard output is for results
        trainer.data = data
        trainer.train(resume_from_checkpoint=last_checkpoint(here, here / SNAPSHOTS, progress))
        trainer.check_weights()
    return trainer
