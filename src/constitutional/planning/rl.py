"""The stages of RL: comparisons, preference models, the policies, arm by arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from constitutional.planning.amounts import Amount, amount, between, total
from constitutional.planning.building import Build, model_bytes, records_saved, training_saved
from constitutional.planning.memory import trained_weights
from constitutional.planning.shape import ModelShape
from constitutional.planning.sizes import LABELLED, Lengths, Role, joined
from constitutional.planning.work import Saved, Stage, Work
from constitutional.preference.settings import Goal, PretrainingConfig
from constitutional.recipe import ArmName, Recipe, Reinforcement
from constitutional.rl.settings import DPOConfig, GroupConfig, OnlineConfig, PPOConfig
from constitutional.stages.arms import ARMS


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
        compared = _compare(build, rl, name, snapshots, stages)
        begun = _preference_models(build, rl, name, compared, stages)
        stages[name] = _policy(build, rl, name, begun)
        policies += [Policy(f"{name}@{n}", build.shapes.pretrained, "policy") for n in _kept(rl)]
        policies.append(Policy(name, build.shapes.pretrained, "policy"))
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


# Comparisons


def _compare(
    build: Build, rl: Reinforcement, name: ArmName, snapshots: int, stages: dict[str, Stage]
) -> Lengths:
    """Puts in the stages that are not there; returns the labelled comparisons, two texts each."""
    found = [_human(build, rl, "helpfulness", stages)]
    match ARMS[name].harmlessness:
        case "ai":
            found.append(_ai(build, rl, snapshots, stages, cot=False))
        case "ai_cot":
            found.append(_ai(build, rl, snapshots, stages, cot=True))
        case "human":
            found.append(_human(build, rl, "harmlessness", stages))
    return joined(found)


def _human(build: Build, rl: Reinforcement, goal: Goal, stages: dict[str, Stage]) -> Lengths:
    source: Mapping[Goal, object] = {
        "helpfulness": rl.helpfulness.prompts,
        "harmlessness": rl.harmlessness and rl.harmlessness.prompts,
    }
    if source[goal] is None:
        return build.sizes.text(f"rl.{goal}")
    prompts, limit = build.sizes.prompt(f"rl.{goal}"), rl.pairs.max_new_tokens
    shapes = build.shapes
    writers = {"pretrained": shapes.pretrained, **dict(shapes.contrast)}
    works = _answers(build, prompts, writers, limit)
    stages[f"comparisons_{goal}"] = Stage(
        name=f"comparisons_{goal}",
        works=works,
        loads=tuple((name, shape, build.format) for name, shape in writers.items()),
        saved=records_saved(works, prompts.number),
    )
    return _answered(prompts, works, limit)


def _answers(
    build: Build, prompts: Lengths, writers: Mapping[str, ModelShape], limit: int
) -> tuple[Work, ...]:
    """Two answers to each prompt, by writers that are drawn evenly."""
    share = prompts.times(2 / len(writers))
    roles: dict[str, Role] = {"pretrained": "answer", "helpful": "response"}
    return tuple(
        build.sample(f"answers of {name}", shape, share, roles.get(name, "policy"), limit)
        for name, shape in writers.items()
    )


def _answered(prompts: Lengths, works: tuple[Work, ...], limit: int) -> Lengths:
    """The prompts with both answers, as far as they get a label."""
    twice = prompts.times(2)
    return Lengths(
        number=twice.number,
        tokens=twice.tokens + total(work.new for work in works),
        longest=twice.longest + limit,
    ).times(LABELLED)


def _ai(
    build: Build, rl: Reinforcement, snapshots: int, stages: dict[str, Stage], *, cot: bool
) -> Lengths:
    asked = rl.labels_with_cot if cot else rl.feedback
    prompts, limit = build.sizes.prompt("rl.comparisons"), rl.pairs.max_new_tokens
    shapes, policy = build.shapes, build.shapes.pretrained
    judge_name = rl.feedback_model
    if asked.cot and judge_name == "pretrained":
        judge_name = "helpful"
    known = {"pretrained": policy, "helpful": shapes.helpful}
    judge = known.get(judge_name, shapes.feedback)
    assert judge is not None  # the recipe was checked
    writers = {"sl_cai": policy, **dict(shapes.contrast)}
    writers |= {f"snapshot {n + 1}": policy for n in range(snapshots)}
    loads = [(name, shape, build.format) for name, shape in writers.items()]
    loads.append((judge_name, judge, build.format))

    answers = _answers(build, prompts, writers, limit)
    works = list(answers)
    both = total(work.new for work in answers) * (1 / max(1.0, prompts.number.value))
    framed = build.sizes.request("question_cot" if asked.cot else "question")
    question = framed.longer(both, 2 * limit)
    if asked.cot:
        longest = asked.max_new_tokens
        works.append(build.sample("reasoning", judge, question, "reasoning", longest))
        question = question.longer(build.sizes.written("reasoning", longest), longest)
    works.append(build.read("questions", judge, question, format=build.format))
    name = "comparisons_ai_cot" if cot else "comparisons_ai"
    saved = records_saved(tuple(works[:-1]), prompts.number)
    stages[name] = Stage(name=name, works=tuple(works), loads=tuple(loads), saved=saved)
    return _answered(prompts, answers, limit)


# Preference models


def _preference_models(
    build: Build, rl: Reinforcement, name: ArmName, compared: Lengths, stages: dict[str, Stage]
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
    train = compared.times((1 - rl.held_out) / halves)
    held_out = compared.times(rl.held_out)
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


# The policy


def _policy(build: Build, rl: Reinforcement, name: ArmName, compared: Lengths) -> Stage:
    config, shape = rl.training, build.shapes.pretrained
    scorers = 2 if rl.held_out_model else 1
    if isinstance(config, DPOConfig):
        works, copies = _dpo(build, config, compared, scorers), 1
    else:
        works, copies = _online(build, config, name, scorers), 1 + len(_kept(rl))
    train = next(work for work in works if work.kind == "train")
    # the reference, and the preference models that score, where each has weights of its own
    number = 1 + scorers
    if isinstance(config, PPOConfig) and config.lora:
        number = scorers - 1 if train.bases == 2 else 0
    beside = tuple((shape, "float32") for _ in range(number))
    passing = 2 * 3 * trained_weights(train) * 4
    saved = Saved(kept=amount(model_bytes(shape) * copies), passing=amount(passing))
    return Stage(name=name, works=works, beside=beside, saved=saved)  # type: ignore[arg-type]


def stops_early(rl: Reinforcement) -> bool:
    """Whether a rule may end the training before its last step."""
    return rl.held_out_model or getattr(rl.training, "kl_limit", None) is not None


def _online(build: Build, config: OnlineConfig, name: ArmName, scorers: int) -> tuple[Work, ...]:
    """Sampling, scoring, log-probabilities and updates of all steps."""
    rl = build.recipe.rl
    assert rl is not None
    lora = config.lora if isinstance(config, PPOConfig) else None
    bases = 1 if has_one_base(build.recipe, name) else 2
    shape, limit = build.shapes.pretrained, config.max_new_tokens
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
        build.read("scores", shape, answered.times(scorers), format="float32", scalar=True),
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
    of_policy = recipe.finetune.lora if _finetuned(recipe, name) else rl.ppo.lora
    return of_policy == rl.ppo.lora and (rl.pmp is None or rl.pmp.lora == rl.ppo.lora)


def _finetuned(recipe: Recipe, name: ArmName) -> bool:
    """Whether the policy begins from a finetuned model, and not from the pretrained one."""
    return ARMS[name].begins_from == "sl_cai" or recipe.demonstrations is not None


def _begins_with_adapters(recipe: Recipe, name: ArmName) -> int:
    return int(_finetuned(recipe, name))


def _dpo(build: Build, config: DPOConfig, compared: Lengths, scorers: int) -> tuple[Work, ...]:
    shape, limit = build.shapes.pretrained, config.max_new_tokens
    train = build.train("comparisons", shape, compared, config, "rl.dpo", each=2)
    reference = build.read(
        "reference", shape, compared.times(config.epochs), format="float32"
    ).model_copy(update={"batch": 2 * config.batch_size})
    prompts = build.sizes.prompt("rl.training")
    measured = build.sample("answers", shape, prompts, "policy", limit, format="float32")
    answered = prompts.longer(build.sizes.written("policy", limit), limit)
    scores = build.read("scores", shape, answered.times(scorers), format="float32", scalar=True)
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
