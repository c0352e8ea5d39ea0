"""The comparisons of RL's arms: who answers, who labels, and how many get a label."""

from __future__ import annotations

from collections.abc import Mapping

from constitutional.planning.amounts import total
from constitutional.planning.building import Build, records_saved
from constitutional.planning.shape import ModelShape
from constitutional.planning.sizes import LABELLED, Lengths, Role
from constitutional.planning.work import Stage, Work
from constitutional.preference.settings import Goal
from constitutional.recipe import ArmName, Reinforcement
from constitutional.stages.arms import ARMS


def compare_stages(
    build: Build, rl: Reinforcement, name: ArmName, snapshots: int, stages: dict[str, Stage]
) -> list[Lengths]:
    """Puts in the stages that are not there; returns the labelled comparisons, two texts each.

    Those of each goal are by themselves.
    """
    found = [_human(build, rl, "helpfulness", stages)]
    match ARMS[name].harmlessness:
        case "ai":
            found.append(_ai(build, rl, snapshots, stages, cot=False))
        case "ai_cot":
            found.append(_ai(build, rl, snapshots, stages, cot=True))
        case "human_on_own_pairs":
            found.append(_human_on_own_pairs(build, rl, snapshots, stages))
        case "human":
            found.append(_human(build, rl, "harmlessness", stages))
    return found


def _human(build: Build, rl: Reinforcement, goal: Goal, stages: dict[str, Stage]) -> Lengths:
    source: Mapping[Goal, object] = {
        "helpfulness": rl.helpfulness and rl.helpfulness.prompts,
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
    shapes = build.shapes
    judge_name = rl.feedback_model
    if asked.cot and judge_name == "pretrained":
        judge_name = "helpful"
    known = {"pretrained": shapes.pretrained, "helpful": shapes.helpful}
    judge = known.get(judge_name, shapes.feedback)
    assert judge is not None  # the recipe was checked
    writers = _writers(build, rl, snapshots)
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


def _human_on_own_pairs(
    build: Build, rl: Reinforcement, snapshots: int, stages: dict[str, Stage]
) -> Lengths:
    """The pairs that AI would label."""
    prompts, limit = build.sizes.prompt("rl.comparisons"), rl.pairs.max_new_tokens
    writers = _writers(build, rl, snapshots)
    works = _answers(build, prompts, writers, limit)
    stages["comparisons_human"] = Stage(
        name="comparisons_human",
        works=works,
        loads=tuple((name, shape, build.format) for name, shape in writers.items()),
        saved=records_saved(works, prompts.number),
    )
    return _answered(prompts, works, limit)


def _writers(build: Build, rl: Reinforcement, snapshots: int) -> dict[str, ModelShape]:
    """RL's initial policy, and who answers besides; each model once."""
    shapes = build.shapes
    start = shapes.helpful if rl.begins_from == "helpful" else shapes.pretrained
    assert start is not None  # the recipe was checked
    writers = {rl.begins_from: start, **dict(shapes.contrast)}
    return writers | {f"snapshot {n + 1}": shapes.pretrained for n in range(snapshots)}
