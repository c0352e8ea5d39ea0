"""Sizes of a recipe whose files cannot be read here: counts by its limits, lengths assumed."""

from __future__ import annotations

from constitutional.errors import InputError
from constitutional.planning.amounts import Amount, amount, between
from constitutional.planning.rl import answers_drawn
from constitutional.planning.sizes import Lengths, Sizes
from constitutional.recipe import HumanComparisons, Prompts, Recipe

#: Tokens of a prompt in its frame: red-team conversations of hh-rlhf are several turns.
PROMPT = between(15, 150, 600)
#: Tokens of an answer that somebody else has written.
ANSWER = between(15, 60, 250)
#: Tokens of a principle's critique and revision requests, of a question around the answers, and of
#: one few-shot example of either kind.
REQUEST, QUESTION, SHOT = between(20, 60, 150), between(60, 120, 250), between(150, 450, 900)
#: The few-shot examples of either kind where the recipe does not say how many.
SHOTS = between(0, 5, 8)


def assumed(recipe: Recipe, why: str) -> Sizes:
    """Sizes by the recipe's own limits; ``why`` says what could not be read.

    Raises InputError for a prompt set without a limit, of which nothing is known.
    """

    def number(source: Prompts | None, where: str) -> Lengths:
        if source is None:
            return Lengths.of(())
        if source.limit is None:
            raise InputError(
                f"{where}: how many prompts there are is not known ({why}): give it a 'limit', or "
                "plan where its files are"
            )
        return Lengths.about(source.limit, PROMPT)

    def human(source: HumanComparisons | None, where: str) -> Lengths:
        return number(None if source is None else source.prompts, where)

    def judged(source: HumanComparisons | None, where: str) -> Lengths:
        """Both texts of each comparison."""
        if source is None or source.prompts is not None:
            return Lengths.of(())
        if source.limit is None:
            raise InputError(
                f"{where}: how many comparisons there are is not known ({why}): give it a 'limit', "
                "or plan where its file is"
            )
        return Lengths.about(2 * source.limit, PROMPT + ANSWER)

    if recipe.demonstrations is not None:
        raise InputError(f"demonstrations: how many there are is not known ({why})")
    prompts: dict[str, Lengths] = {}
    texts: dict[str, Lengths] = {}
    asked: dict[str, Lengths] = {}
    if recipe.prompts is not None:
        red_team = number(recipe.prompts.red_team, "prompts.red_team")
        prompts["prompts.red_team"] = red_team
        prompts["prompts.helpful"] = number(recipe.prompts.helpful, "prompts.helpful")
        framed = _shots(recipe.supervised.few_shots) * SHOT + REQUEST
        rounds = red_team.times(recipe.supervised.rounds)
        asked["critique"] = rounds.longer(framed, framed.high)
        asked["revision"] = asked["critique"].longer(REQUEST, REQUEST.high)
    if recipe.rl is not None:
        rl = recipe.rl
        if rl.pmp is not None:
            raise InputError(f"rl.pmp: how many answers its file holds is not known ({why})")
        prompts["rl.comparisons"] = number(rl.comparisons, "rl.comparisons")
        prompts["rl.helpfulness"] = human(rl.helpfulness, "rl.helpfulness")
        prompts["rl.harmlessness"] = human(rl.harmlessness, "rl.harmlessness")
        texts["rl.helpfulness"] = judged(rl.helpfulness, "rl.helpfulness")
        texts["rl.harmlessness"] = judged(rl.harmlessness, "rl.harmlessness")
        prompts["rl.training"] = Lengths.about(answers_drawn(rl.training), PROMPT)
        orders = 2 if rl.feedback.orders == "both" else 1
        times = rl.feedback.principles_per_pair * orders * rl.feedback.cot_samples
        framed = _shots(rl.feedback.few_shots) * SHOT + QUESTION
        question = prompts["rl.comparisons"].times(times).longer(framed, framed.high)
        asked |= {"question": question, "question_cot": question}
    if recipe.evaluation is not None:
        evaluation = recipe.evaluation
        red_team = number(evaluation.red_team, "evaluation.red_team")
        helpful = number(evaluation.helpful, "evaluation.helpful")
        prompts["evaluation.red_team"] = red_team
        both = red_team.number + helpful.number
        prompts["evaluation"] = Lengths.about(both, PROMPT)
        asked["prompted"] = prompts["evaluation"].longer(REQUEST * 10, REQUEST.high * 10)
        for goal, found in (("harmlessness", red_team), ("helpfulness", helpful)):
            shots = None if evaluation.ai_judge is None else evaluation.ai_judge.few_shots
            framed = _shots(shots) * SHOT + QUESTION
            asked[f"judge.{goal}"] = found.times(2).longer(framed, framed.high)
        harm = evaluation.harm_score
        if harm is not None and harm.file:
            raise InputError(f"harm_score: how many ratings its file holds is not known ({why})")
        where = "evaluation.harm_score"
        prompts[where] = number(None if harm is None else harm.prompts, where)
    return Sizes(prompts=prompts, asked=asked, texts=texts)


def _shots(number: int | None) -> Amount:
    return SHOTS if number is None else amount(number)
