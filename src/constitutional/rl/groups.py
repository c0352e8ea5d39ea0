"""RLOO and GRPO by TRL's trainers, with our prompts, our sampler and our preference model.

RLOO is REINFORCE with the other answers to a prompt as the baseline (Ahmadian et al. 2024,
arXiv 2402.14740). GRPO divides by the deviation of a prompt's rewards too, clips token by token,
and puts the KL penalty into the loss (Shao et al. 2024, arXiv 2402.03300). Losses and updates are
TRL's. What a policy reads and when its answer ends are not left to it: prompts, stop strings and
draws are those of :mod:`constitutional.rl.rollout`, as in PPO. The preference model's mean is not
taken off the reward: the baseline takes off any constant.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from transformers import PrinterCallback, TrainerCallback

from constitutional.dialogue import PromptRecord
from constitutional.engines.loading import load_parts
from constitutional.engines.local import LocalEngine
from constitutional.rl.measure import Answered, Measured, Rollouts
from constitutional.rl.ppo import Score
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import GRPOConfig, RLOOConfig
from constitutional.rl.stopping import stop_reason
from constitutional.rl.trl import (
    Offline,
    common_arguments,
    datasets,
    quiet,
    save_policy,
    save_result,
    trl,
)
from constitutional.rl.watch import StepWatch
from constitutional.runs.checkpoints import mark_snapshot
from constitutional.runs.progress import Progress
from constitutional.training import SNAPSHOTS, Steps, last_checkpoint
from constitutional.training_checks import Watched, newest_checkpoint


@dataclass(frozen=True)
class GroupStep(Measured):
    """One step: the batch as it was sampled, and TRL's figures of the updates that followed.

    ``clip_share`` is of answers in RLOO and of tokens in GRPO.
    """

    step: int
    entropy: float
    clip_share: float
    policy_loss: float


@dataclass(frozen=True)
class GroupReport:
    """What a training did, and why it ended ("all steps done" or the stop rule's sentence)."""

    algorithm: str
    steps: int
    ended: str
    history: tuple[GroupStep, ...]


def train_groups(
    start: str | Path,
    *,
    config: RLOOConfig | GRPOConfig,
    prompts: Prompts,
    score: Score,
    held_out_score: Score | None,
    seed: int,
    work: Path,
    progress: Progress,
    device: str = "auto",
    style: Literal["auto", "transcript", "chat"] = "auto",
    engine_batch_size: int = 128,
) -> GroupReport:
    """Train the policy ``start`` by RLOO or GRPO, as ``config`` is; leaves ``work / "result"``.

    ``start`` is the reference too. ``score`` is the preference model's raw score;
    ``held_out_score`` one that nothing is optimised against. A call that was killed goes on from
    its last complete checkpoint in ``work`` and, on a CPU, ends with the same bytes. Raises
    TrainingError where a score is no finite number.
    """
    policy, tokenizer = load_parts(start, device=device, dtype="float32")
    here = work / _name(config)
    rules = _Rules(config)
    with ExitStack() as shown, quiet():
        trainer = group_trainer(policy, tokenizer, config, prompts, seed, here, device)
        trainer.answers.rollouts = Rollouts(
            engine=LocalEngine(
                policy, tokenizer, name="policy", style=style, batch_size=engine_batch_size
            ),
            tokenizer=tokenizer,
            reference=trainer.ref_model,
            score=score,
            held_out_score=held_out_score,
            max_new_tokens=config.max_new_tokens,
            rows=config.minibatch_size,
            seed=seed,
            watch=StepWatch(partial(newest_checkpoint, here)),
        )
        title = f"{_name(config).upper()}, updates"
        for callback in (
            Steps(partial(progress.task, title), shown),
            rules,
            _Snapshots(config, tokenizer, work),
        ):
            trainer.add_callback(callback)
        going_on = last_checkpoint(here, work / SNAPSHOTS, progress, each=updates_of(config))
        trainer.train(resume_from_checkpoint=going_on)
        trainer.check_weights()
    history = _history(trainer.state.log_history, trainer.updates)
    report = GroupReport(_name(config), len(history), rules.ended or "all steps done", history)
    save_result(work, policy, tokenizer, asdict(report))
    return report


def group_trainer(
    policy: Any,
    tokenizer: Any,
    config: RLOOConfig | GRPOConfig,
    prompts: Prompts,
    seed: int,
    work: Path,
    device: str,
) -> Any:
    """TRL's trainer of ``policy``, whose ``answers`` still need their ``rollouts``."""
    # TRL loads a reference only where the penalty counts; a copy is taken before TRL changes
    # how the policy is called
    reference = None if config.kl_coefficient else copy.deepcopy(policy).requires_grad_(False)
    answers = _Answers(
        [
            prompt
            for step in range(config.steps)
            for prompt in prompts.batch(
                step, config.batch_size // config.group_size, config.red_team_share, seed
            )
        ]
    )
    kind = _RLOO if isinstance(config, RLOOConfig) else _GRPO
    trainer: Any = kind(
        model=policy,
        reward_funcs=[answers.rewards],
        args=_arguments(config, work, seed, device),
        train_dataset=datasets.Dataset.from_dict({"prompt": answers.places}),
        processing_class=copy.deepcopy(tokenizer),  # TRL gives it a pad token
    )
    trainer.remove_callback(PrinterCallback)  # standard output is for results
    trainer.answers, trainer.updates = answers, updates_of(config)
    trainer.ref_model = trainer.ref_model or reference
    return trainer


def _name(config: RLOOConfig | GRPOConfig) -> str:
    return "rloo" if isinstance(config, RLOOConfig) else "grpo"


def updates_of(config: RLOOConfig | GRPOConfig) -> int:
    """How often the policy is updated on each batch of answers."""
    return config.epochs * config.batch_size // config.minibatch_size


def _arguments(config: RLOOConfig | GRPOConfig, work: Path, seed: int, device: str) -> Any:
    updates = updates_of(config)
    shared = {
        **common_arguments(work, seed, device),
        "bf16": False,  # as in PPO: log-probs must be those that the engine sampled with
        "max_steps": config.steps * updates,
        "per_device_train_batch_size": config.minibatch_size,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": config.batch_size // config.minibatch_size,
        "num_iterations": config.epochs,
        "num_generations": config.group_size,
        "learning_rate": config.learning_rate,
        "weight_decay": 0.0,
        "max_grad_norm": config.max_grad_norm,
        "epsilon": config.clip,
        "beta": config.kl_coefficient,
        "max_completion_length": config.max_new_tokens,
        "shuffle_dataset": False,
        "logging_steps": updates,
        "save_steps": config.checkpoint_steps * updates,
    }
    if isinstance(config, RLOOConfig):
        return trl.RLOOConfig(**shared, normalize_advantages=config.normalize_advantages)
    return trl.GRPOConfig(**shared, scale_rewards=config.scale_rewards, loss_type=config.loss_type)


# What TRL's trainers do our way


class _Answers:
    """Between TRL's trainer and our sampler. ``drawn`` are the prompts of all steps, in order."""

    rollouts: Rollouts

    def __init__(self, drawn: Sequence[PromptRecord]):
        self.drawn = drawn
        self.last: Answered | None = None
        self.asked: list[PromptRecord] = []

    @property
    def places(self) -> list[str]:
        """All that TRL sees of each prompt: its place in ``drawn``."""
        return [str(place) for place in range(len(self.drawn))]

    def prompt_ids(self, places: Sequence[str]) -> list[list[int]]:
        """The ids of the prompts that are answered next."""
        self.asked = [self.drawn[int(place)] for place in places]
        return [self.rollouts.prompt_ids(prompt) for prompt in self.asked]

    def sample(self, step: int) -> list[list[int]]:
        """The ids of their answers, those of the end or of a stop string included."""
        self.last = self.rollouts.answer(self.asked, step)
        return [list(completion.token_ids) for completion in self.last.completions]

    def rewards(self, **_: Any) -> Sequence[float]:
        """The scores of these answers; what TRL passes is what it was given."""
        assert self.last is not None
        return self.last.scores


class _OurAnswers(Watched, Offline):
    """Mixed into TRL's trainers of groups: the three places where answers come in."""

    answers: _Answers
    updates: int
    state: Any

    def names_in(self, inputs: dict[str, Any]) -> list[str]:
        """The prompts whose answers are learned from; which of them a minibatch has, TRL knows."""
        return list(dict.fromkeys(f"prompt {prompt.id}" for prompt in self.answers.asked))

    def _tokenize_prompts(self, prompts: Sequence[str]) -> Any:
        return self.answers.prompt_ids(prompts), None, {}

    def _sampled(self) -> list[list[int]]:
        return self.answers.sample(self.state.global_step // self.updates)

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """With what was measured: the log is kept in checkpoints, and is the history."""
        if "loss" in logs and self.answers.last is not None:
            logs["answers"] = asdict(self.answers.last.measured)
        super().log(logs, start_time)  # type: ignore[misc]  # TRL's


class _RLOO(_OurAnswers, trl.RLOOTrainer):  # type: ignore[misc]  # TRL is not typed
    def _generate_single_turn(self, *_: Any, **__: Any) -> Any:
        return self._sampled()


class _GRPO(_OurAnswers, trl.GRPOTrainer):  # type: ignore[misc]  # TRL is not typed
    def _generate_single_turn(self, *_: Any, **__: Any) -> Any:
        return self._sampled(), None


class _Rules(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Stops by the rules of PPO."""

    def __init__(self, config: RLOOConfig | GRPOConfig):
        self.ended = ""
        self._config = config

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        history = _history(state.log_history, updates_of(self._config))
        self.ended = stop_reason(history, self._config)
        if self.ended:
            control.should_training_stop = True
            # a run that goes on from here would not stop: it is to meet the rule once more
            control.should_save = False


class _Snapshots(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Keeps a copy of the policy every so many steps."""

    def __init__(self, config: RLOOConfig | GRPOConfig, tokenizer: Any, work: Path):
        self._every, self._updates = config.snapshot_steps, updates_of(config)
        self._tokenizer, self._folder = tokenizer, work / SNAPSHOTS

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        step, rest = divmod(state.global_step, self._updates)
        if self._every and not rest and step % self._every == 0:
            save_policy(model, self._tokenizer, self._folder / f"step-{step}")
            mark_snapshot(self._folder, step)


def _history(log: Sequence[Mapping[str, Any]], updates: int) -> tuple[GroupStep, ...]:
    return tuple(_step(entry, updates) for entry in log if "answers" in entry)


def _step(entry: Mapping[str, Any], updates: int) -> GroupStep:
    seconds = entry["answers"]["seconds"]
    rest = entry["step_time"] * updates - sum(seconds.values())
    return GroupStep(
        **{**entry["answers"], "seconds": {**seconds, "update": rest}},
        step=entry["step"] // updates,
        entropy=entry["entropy"],
        clip_share=entry["clip_ratio/region_mean"],
        policy_loss=entry["loss"],
    )
