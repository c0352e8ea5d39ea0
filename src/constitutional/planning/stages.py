"""The stages of a recipe, in the pipeline's order and by the names of the run's folder."""

from __future__ import annotations

from itertools import combinations

from constitutional.planning.amounts import Amount, amount
from constitutional.planning.building import (
    Build,
    records_saved,
    steps,
    training_saved,
)
from constitutional.planning.memory import trained_weights
from constitutional.planning.rl import Policy, rl_stages
from constitutional.planning.shape import ModelShape
from constitutional.planning.sizes import USABLE_TEXTS, Lengths, Role, joined
from constitutional.planning.work import Loaded, Saved, Stage
from constitutional.recipe import SNAPSHOTS, AIJudge, Evaluation


def stages_of(build: Build) -> list[Stage]:
    """Every stage of a run, the evaluation of every snapshot included."""
    shapes = build.shapes
    policies = [Policy("pretrained", shapes.pretrained, "answer")]
    if shapes.helpful is not None:
        policies.append(Policy("helpful", shapes.helpful, "response"))
    begun = _supervised(build) if build.recipe.prompts is not None else [_demonstrations(build)]
    name = begun[-1].name
    policies.append(Policy(name, shapes.pretrained, "policy"))
    reinforced, made = rl_stages(build, _snapshots(build))
    stages = [*begun, *reinforced, *_evaluation(build, [*policies, *made])]
    quantize = build.recipe.models.quantize
    return [stage.model_copy(update={"quantize": quantize}) for stage in stages]


# The supervised stage


def _supervised(build: Build) -> list[Stage]:
    helpful, pretrained, sizes = build.shapes.helpful, build.shapes.pretrained, build.sizes
    config = build.recipe.supervised
    assert helpful is not None  # the recipe was checked
    limit, critic = config.max_new_tokens, build.shapes.critic or helpful
    loads: tuple[Loaded, ...] = (("helpful", helpful, build.format),)
    replies_loads = loads
    if config.critique and critic is not helpful:
        loads = (*loads, ("critic", critic, build.format))
    prompts, harmless = sizes.prompt("prompts.red_team"), sizes.prompt("prompts.helpful")

    # a request holds the version before it: at first the response, then the last revision
    version = sizes.written("revision", limit) * ((config.rounds - 1) / config.rounds)
    version += sizes.written("response", limit) * (1 / config.rounds)
    works = [build.sample("responses", helpful, prompts, "response", limit)]
    before = version
    if config.critique:
        asked = sizes.request("critique").longer(version, limit)
        works.append(build.sample("critiques", critic, asked, "critique", limit))
        before = version + sizes.written("critique", limit)
    asked = sizes.request("revision").longer(before, limit * (2 if config.critique else 1))
    works.append(build.sample("revisions", helpful, asked, "revision", limit))
    chains = Stage(
        name="critique_revision",
        works=tuple(works),
        loads=loads,
        saved=records_saved(tuple(works), prompts.number),
    )
    replies = build.sample(
        "replies", helpful, harmless.times(config.helpful_responses), "reply", limit
    )
    helpful_replies = Stage(
        name="helpful_replies",
        works=(replies,),
        loads=replies_loads,
        saved=records_saved((replies,), harmless.number),
    )
    rounds = config.rounds if build.recipe.finetune.revisions == "all" else 1
    texts = joined(
        [
            _revised(build, prompts.times(rounds)),
            _trained_on(
                build, harmless.times(config.helpful_responses), sizes.written("reply", limit)
            ),
        ]
    )
    return [chains, helpful_replies, _finetuning(build, "sl_cai", pretrained, texts)]


def _revised(build: Build, prompts: Lengths) -> Lengths:
    """The revisions that are trained on, as far as a study damages some of them.

    The rest of one that repeats itself fills the limit; it and one that leaks are caught.
    """
    damage, limit = build.recipe.supervised.damage, build.recipe.supervised.max_new_tokens
    mean = build.sizes.written("revision", limit)
    if damage is None:
        return _trained_on(build, prompts, mean)
    each = damage.share / len(damage.kinds)
    if build.recipe.finetune.flagged == "train":
        repeated = each * ("repeat" in damage.kinds)
        return _trained_on(build, prompts, mean * (1 - repeated) + limit * repeated)
    caught = each * len({"repeat", "leak"}.intersection(damage.kinds))
    return _trained_on(build, prompts.times(1 - caught), mean)


def _trained_on(build: Build, prompts: Lengths, mean: Amount) -> Lengths:
    """Prompts with texts of ``mean`` tokens behind them, as far as these are fit for training."""
    usable = USABLE_TEXTS if build.recipe.finetune.flagged == "leave_out" else amount(1)
    return prompts.longer(mean, build.recipe.supervised.max_new_tokens).times(usable)


def _demonstrations(build: Build) -> Stage:
    texts = build.sizes.text("demonstrations")
    return _finetuning(build, "sft", build.shapes.pretrained, texts)


def _finetuning(build: Build, name: str, shape: ModelShape, texts: Lengths) -> Stage:
    settings = build.recipe.finetune
    work = build.train("finetuning", shape, texts, settings, "finetune")
    kept = (steps(work) - 1) // settings.snapshot_steps if settings.snapshot_steps else 0
    saved = training_saved(shape, trained_weights(work), 1 + kept)
    return Stage(name=name, works=(work,), saved=saved)


def _snapshots(build: Build) -> int:
    """How many snapshots of SL-CAI answer beside it."""
    rl, every = build.recipe.rl, build.recipe.finetune.snapshot_steps
    if rl is None or SNAPSHOTS not in rl.contrast or not every:
        return 0
    return (steps(_supervised(build)[-1].works[0]) - 1) // every


# The evaluation


def _evaluation(build: Build, policies: list[Policy]) -> list[Stage]:
    evaluation = build.recipe.evaluation
    if evaluation is None:
        return []
    limit, prompts = evaluation.max_new_tokens, build.sizes.prompt("evaluation")
    stages = [_answers(build, policy, prompts, limit) for policy in policies]
    final = [policy for policy in policies if "@" not in policy.name]
    if evaluation.prompted and build.shapes.helpful is not None:
        prompted = Policy("prompted", build.shapes.helpful, "policy", "helpful")
        asked = build.sizes.request("prompted")
        stages.append(_answers(build, prompted, asked, limit))
        policies, final = [*policies, prompted], [*final, prompted]
    stages += _harm_score(build, evaluation, len(policies))
    if evaluation.ai_judge is not None:
        stages += _ai_judge(build, evaluation.ai_judge, final, limit)
    return stages


def _answers(build: Build, policy: Policy, prompts: Lengths, limit: int) -> Stage:
    name = f"answers_{policy.name.replace('@', '-step-')}"
    work = build.sample("answers", policy.shape, prompts, policy.role, limit, section="evaluation")
    return Stage(
        name=name,
        works=(work,),
        loads=((policy.loaded_as or policy.name, policy.shape, build.format),),
        saved=records_saved((work,), prompts.number),
    )


def _harm_score(build: Build, evaluation: Evaluation, policies: int) -> list[Stage]:
    ratings = evaluation.harm_score
    if ratings is None:
        return []
    sizes, limit, shape = build.sizes, evaluation.max_new_tokens, build.shapes.pretrained
    stages, texts = [], [sizes.text("harm_score")]
    asked = sizes.prompt("evaluation.harm_score")
    raters: tuple[tuple[str, ModelShape | None, Role], ...] = (
        ("pretrained", shape, "answer"),
        ("helpful", build.shapes.helpful, "response"),
    )
    for name, model, role in raters if ratings.prompts else ():
        assert model is not None  # the recipe was checked
        work = build.sample("answers", model, asked, role, limit, section="evaluation")
        saved = records_saved((work,), asked.number)
        loads = ((name, model, build.format),)
        stages.append(Stage(name=f"harm_ratings_{name}", works=(work,), loads=loads, saved=saved))
        texts.append(asked.longer(sizes.written(role, limit), limit))
    settings = ratings.training
    train = build.train(
        "regression", shape, joined(texts).times(0.8), settings, "evaluation", language_model=False
    )
    scored = sizes.prompt("evaluation.red_team").times(policies)
    read = build.read(
        "harm of all answers",
        shape,
        scored.longer(sizes.written("policy", limit), limit),
        format="float32",
        scalar=True,
    )
    saved = training_saved(shape, trained_weights(train))
    return [*stages, Stage(name="harm_score", works=(train, read), saved=saved)]


def _ai_judge(build: Build, judge: AIJudge, final: list[Policy], limit: int) -> list[Stage]:
    pairs, sizes = len(list(combinations(final, 2))), build.sizes
    shape = build.shapes.ai_judge
    assert shape is not None  # the recipe names one
    stages = []
    for goal in judge.goals:
        answers = sizes.written("policy", limit) * 2
        asked = sizes.request(f"judge.{goal}").times(pairs).longer(answers, 2 * limit)
        work = build.read("questions", shape, asked, format=build.format)
        kept = records_saved((work,), asked.number * 0.5)
        loads = ((judge.model, shape, build.format),)
        stages.append(Stage(name=f"judged_{goal}", works=(work,), loads=loads, saved=kept))
    return stages


def disk_of(stages: list[Stage]) -> Saved:
    """What a run keeps, and the most that a stage needs besides while it runs."""
    kept = amount(0)
    most = amount(0)
    for stage in stages:
        kept = kept + stage.saved.kept
        if stage.saved.passing.value > most.value:
            most = stage.saved.passing
    return Saved(kept=kept, passing=most)
