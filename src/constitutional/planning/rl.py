"""The stages of RL: comparisons, preference models, the policies, arm by arm."""

from __future__ import annotations

import math
from dataclasses import dataclass

from constitutional.planning.amounts import Amount, amount, between
from constitutional.planning.building import Build, model_bytes, training_saved
from constitutional.planning.comparing import compare_stages
from constitutional.planning.memory import trained_weights
from constitutional.planning.shape import ModelShape
from constitutional.planning.sizes import Lengths, Role, joined
from constitutional.planning.work import Saved, Stage, Work
from constitutional.preference.settings import PretrainingConfig
from constitutional.recipe import ArmName, Recipe, Reinforcement
from constitutional.rl.settings import DPOConfig, GroupConfig, OnlineConfig, PPOConfig
from constitutional.stages.arms import arm_of


@dataclass(frozen=True)
class Policy:
    """A policy that is evaluated: its name in the run, and whose answers its own are like."""

    name: str
    shape: ModelShape
    role: Role
    #: Under which name its model is in memory where that is another policy's.
    loaded_as: str | None = None


def rl_stages(build: Build, snapshots: int) -> tuple[list[Stage], list[Policy]]:
    """The stages of all arms, those that arms share once, and the policies that they make.

    ``snapshots`` of SL-CAI answer beside it.
    """
    rl = build.recipe.rl
    if rl is None:
        return [], []
    stages: dict[str, Stage] = {}
    policies: list[Policy] = []
    for name in rl.arms:
        compared = compare_stages(build, rl, name, snapshots, stages)
        begun = _preference_models(build, rl, name, compared, stages)
        if not rl.policy:
            continue
        stages[name] = _policy(build, rl, name, begun)
        shape = _start_shape(build, rl, name)
        policies += [Policy(f"{name}@{n}", shape, "policy") for n in _kept(rl)]
        policies.append(Policy(name, shape, "policy"))
    return list(stages.values()), policies


def _kept(rl: Reinforcement) -> range:
    """Steps of the snapshots of a training that runs to its end; the last is the policy itself."""
    config = rl.training
    every = getattr(config, "snapshot_steps", None)
    return (
        range(every, config.steps, every)
        if every and isinstance(config, OnlineConfig)
        else range(0)
    )


# Preference models


def _preference_models(
    build: Build,
    rl: Reinforcement,
    name: ArmName,
    compared: list[Lengths],
    stages: dict[str, Stage],
) -> Lengths:
    """Puts in their trainings; returns the comparisons that the first one is trained on."""
    shape = build.shapes.pretrained
    if rl.pmp is not None:
        settings = PretrainingConfig(**rl.pmp.model_dump(exclude={"file"}))
        ranked = build.sizes.text("rl.pmp").times(2 if settings.binarise else 1)
        work = build.train(
            "ranked answers", shape, ranked, settings, "rl.pmp", language_model=False, each=2
        )
        saved = training_saved(shape, trained_weights(work))
        stages["preference_pretraining"] = Stage(
            name="preference_pretraining", works=(work,), saved=saved
        )
    halves = 2 if rl.held_out_model else 1
    share, limit = (1 - rl.held_out) / halves, rl.preference.limit
    train = joined(_limited(of_goal.times(share), limit) for of_goal in compared)
    held_out = joined(compared).times(rl.held_out)
    names = [f"preference_model_{name}", f"preference_model_{name}_held_out"][:halves]
    for number, each in enumerate(names):
        work = build.train(
            "comparisons",
            shape,
            train,
            rl.preference,
            "rl.preference",
            language_model=False,
            each=2,
        )
        # the score mean, and of the first the two reports on labels and on the judge's word
        scored = held_out.times(1 if number else 3)
        read = build.read("held-out scores", shape, scored, format="float32", scalar=True)
        stages[each] = Stage(
            name=each, works=(work, read), saved=training_saved(shape, trained_weights(work))
        )
    return train


def _limited(texts: Lengths, limit: int | None) -> Lengths:
    """At most so many comparisons of the goal, two texts each."""
    if limit is None or not texts.number.high:
        return texts
    number = texts.number.at_most(2 * limit)
    ends = zip(texts.number.ends, texts.tokens.ends, number.ends, strict=True)
    tokens = between(*(kept * tokens / all_ if all_ else 0 for all_, tokens, kept in ends))
    return Lengths(number=number, tokens=tokens, longest=texts.longest)


# The policy


def _policy(build: Build, rl: Reinforcement, name: ArmName, compared: Lengths) -> Stage:
    config, shape = rl.training, _start_shape(build, rl, name)
    scorers = 2 if rl.held_out_model else 1
    if isinstance(config, DPOConfig):
        works, copies = _dpo(build, config, shape, compared, scorers), 1
    else:
        works, copies = _online(build, config, name, shape, scorers), 1 + len(_kept(rl))
    train = next(work for work in works if work.kind == "train")
    # the reference, and the preference models that score, where each has weights of its own
    scorer = build.shapes.pretrained
    networks = [shape, *[scorer] * scorers]
    if isinstance(config, PPOConfig) and config.lora:
        networks = [scorer] * (scorers - 1) if train.bases == 2 else []
    beside = tuple((network, "float32") for network in networks)
    passing = 2 * 3 * trained_weights(train) * 4
    saved = Saved(kept=amount(model_bytes(shape) * copies), passing=amount(passing))
    return Stage(name=name, works=works, beside=beside, saved=saved)  # type: ignore[arg-type]


def _start_shape(build: Build, rl: Reinforcement, name: ArmName) -> ModelShape:
    """The shape of the policy, which is that of what the arm begins from."""
    helpful = build.shapes.helpful if arm_of(rl, name).begins_from == "helpful" else None
    return helpful or build.shapes.pretrained


def stops_early(rl: Reinforcement) -> bool:
    """Whether a rule may end the training before its last step."""
    return rl.held_out_model or getattr(rl.training, "kl_limit", None) is not None


def _online(
    build: Build, config: OnlineConfig, name: ArmName, shape: ModelShape, scorers: int
) -> tuple[Work, ...]:
    """Sampling, scoring, log-probabilities and updates of all steps."""
    rl = build.recipe.rl
    assert rl is not None
    lora = config.lora if isinstance(config, PPOConfig) else None
    bases = 1 if has_one_base(build.recipe, name) else 2
    limit, scorer = config.max_new_tokens, build.shapes.pretrained
    done: Amount = between(1 / config.steps, 1, 1) if stops_early(rl) else amount(1)
    prompts = build.sizes.prompt("rl.training").times(done)
    new = build.sizes.written("policy", limit)
    answered = prompts.longer(new, limit)
    processes = 1 if build.recipe.training is None else build.recipe.training.processes
    at_once = min(build.recipe.models.batch_size, math.ceil(config.batch_size / processes))
    sample = build.sample("answers", shape, prompts, "policy", limit, format="float32").model_copy(
        update={"batch": at_once}
    )
    ppo = isinstance(config, PPOConfig)
    # PPO: policy, reference and critic; the others: the reference alone, by us and by TRL
    forward = answered.times(3 if ppo else 2)
    seen = answered.times(config.epochs)
    train = Work(
        what="updates",
        kind="train",
        model=shape,
        sequences=seen.number,
        prompt=seen.tokens,
        longest=answered.longest,
        batch=config.minibatch_size,
        critic=ppo,
        recomputes=isinstance(config, PPOConfig) and config.gradient_checkpointing,
        lora=lora,
        bases=bases if lora else 1,
        # of policy and critic; on one base also those of what they began as
        adapters=2 if bases == 2 else 2 + _begins_with_adapters(build.recipe, name) + scorers,
        section=f"rl.{rl.algorithm}",
        scored_tail=amount(limit),
    )
    return (
        sample,
        build.read("scores", scorer, answered.times(scorers), format="float32", scalar=True),
        build.read("log-probabilities", shape, forward, format="float32").model_copy(
            update={"batch": math.ceil(config.minibatch_size / processes)}
        ),
        train,
    )


def has_one_base(recipe: Recipe, name: ArmName) -> bool:
    """Whether PPO's networks will share their base (:mod:`constitutional.rl.one_base`)."""
    rl = recipe.rl
    if rl is None or rl.ppo.lora is None or rl.preference.lora != rl.ppo.lora:
        return False
    if arm_of(rl, name).begins_from == "helpful":
        return False  # the preference model is made of the pretrained one
    of_policy = recipe.finetune.lora if _finetuned(recipe, name) else rl.ppo.lora
    return of_policy == rl.ppo.lora and (rl.pmp is None or rl.pmp.lora == rl.ppo.lora)


def _finetuned(recipe: Recipe, name: ArmName) -> bool:
    """Whether the policy begins from a finetuned model, and not from the pretrained one."""
    start = None if recipe.rl is None else arm_of(recipe.rl, name).begins_from
    return start == "sl_cai" or recipe.demonstrations is not None


def _begins_with_adapters(recipe: Recipe, name: ArmName) -> int:
    return int(_finetuned(recipe, name))


def _dpo(
    build: Build, config: DPOConfig, shape: ModelShape, compared: Lengths, scorers: int
) -> tuple[Work, ...]:
    limit, scorer = config.max_new_tokens, build.shapes.pretrained
    train = build.train("comparisons", shape, compared, config, "rl.dpo", each=2)
    reference = build.read(
        "reference", shape, compared.times(config.epochs), format="float32"
    ).model_copy(update={"batch": 2 * config.batch_size})
    prompts = build.sizes.prompt("rl.training")
    measured = build.sample("answers", shape, prompts, "policy", limit, format="float32")
    answered = prompts.longer(build.sizes.written("policy", limit), limit)
    scores = build.read("scores", scorer, answered.times(scorers), format="float32", scalar=True)
    return measured, scores, reference, train


def answers_drawn(config: OnlineConfig | DPOConfig) -> int:
    """Answers that a training samples, if it runs to its end."""
    if isinstance(config, DPOConfig):
        return 2 * config.measured_answers
    return config.steps * config.batch_size


def prompts_in_step(config: OnlineConfig) -> tuple[int, int]:
    """Prompts that a step draws, and how often each is answered."""
    group = config.group_size if isinstance(config, GroupConfig) else 1
    return config.batch_size // group, group
