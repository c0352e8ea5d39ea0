"""Sizes of a recipe whose files are here: every prompt is tokenised as its stage will.

Exact are all tokens that are known before the run: prompts, few-shot examples, principles and
orders as the seed draws them, texts that are trained on as they stand. What models write into a
request is added where the stage is built.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from constitutional.constitution import Constitution
from constitutional.dialogue import Conversation, PromptRecord, prompt_for
from constitutional.dialogue.tokens import encode_example, prompt_ids
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.loading import load_tokenizer
from constitutional.evaluation.judges import HELPFULNESS
from constitutional.feedback.label import FeedbackModel
from constitutional.feedback.pairs import Pair
from constitutional.feedback.settings import FeedbackConfig
from constitutional.inputs import HumanData, Inputs, Model, RLInputs
from constitutional.planning.amounts import between
from constitutional.planning.dry_run import WORD, CountingEngine
from constitutional.planning.rl import prompts_in_step
from constitutional.planning.sizes import Lengths, Sizes
from constitutional.recipe import Recipe, Reinforcement
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import DPOConfig
from constitutional.runs.records import Comparison
from constitutional.stages.evaluation import in_system_prompt
from constitutional.supervised.critique_revision import CritiqueRevision

#: Requests are dry-run for so many prompts of a stage; with more, for some at even distances.
DRY_RUN = 1000
#: How far the mean of a dry run of some may be from that of all, and one comparison's from
#: another's.
SOME = between(0.97, 1.0, 1.03)

#: Key and lengths.
Found = dict[str, Lengths]


def counted(recipe: Recipe, inputs: Inputs) -> Sizes:
    """The sizes of this recipe. Loads tokenizers and no weights."""
    pretrained = _Tokens(inputs, inputs.pretrained_model)
    helpful = _Tokens(inputs, inputs.helpful_model or inputs.pretrained_model)
    red_team = [p for p in inputs.evaluation if p.kind == "red_team"]
    prompts = {
        "prompts.red_team": helpful.prompts(inputs.red_team),
        "prompts.helpful": helpful.prompts(inputs.helpful),
        "evaluation": pretrained.prompts(inputs.evaluation),
        "evaluation.red_team": pretrained.prompts(red_team),
        "evaluation.harm_score": pretrained.prompts(inputs.harm_prompts),
    }
    asked: Found = {}
    texts = {
        "demonstrations": pretrained.texts(inputs.demonstrations),
        "harm_score": pretrained.texts(rated.conversation for rated in inputs.rated),
    }
    if recipe.prompts is not None and inputs.constitution is not None:
        asked |= _revising(recipe, inputs.constitution, inputs.red_team, helpful)
    if recipe.rl is not None and inputs.rl is not None:
        prompts |= _rl_prompts(recipe, recipe.rl, inputs.rl, pretrained)
        asked |= _questions(recipe, recipe.rl, inputs, pretrained, helpful)
        texts |= _rl_texts(inputs.rl, pretrained)
    if recipe.evaluation is not None:
        asked |= _evaluation(recipe, inputs, helpful)
    return Sizes(prompts=prompts, asked=asked, texts=texts)


class _Tokens:
    """Counts what one model reads; for one behind a server by the pretrained model's tokenizer."""

    def __init__(self, inputs: Inputs, model: Model):
        settings = inputs.engines.get(model.path)
        path = model.path if settings is None else settings.model
        if isinstance(settings, OpenAISettings):
            path = inputs.pretrained_model.path
        self.style = model.style
        self.tokenizer: Any = load_tokenizer(path)
        if self.style == "chat" and not self.tokenizer.chat_template:
            self.style = "transcript"  # of nearly as many tokens

    def prompts(self, records: Iterable[PromptRecord], system: str | None = None) -> Lengths:
        """What stands before an answer to each prompt."""
        return Lengths.of(
            len(
                prompt_ids(
                    self.tokenizer, prompt_for(r.conversation, "assistant", self.style, (), system)
                )
            )
            for r in records
        )

    def texts(self, conversations: Iterable[Conversation]) -> Lengths:
        """Whole texts, their end included."""
        return Lengths.of(
            len(encode_example(self.tokenizer, c, self.style, 2**31).input_ids)
            for c in conversations
        )

    def engine(self) -> CountingEngine:
        """A new engine that counts."""
        return CountingEngine(self.tokenizer, self.style)


def _some(prompts: Sequence[PromptRecord]) -> Sequence[PromptRecord]:
    return prompts[:: -(-len(prompts) // DRY_RUN)] if prompts else prompts


def _of_all(found: Lengths, some: int, all_: int) -> Lengths:
    """From a dry run of ``some`` prompts to ``all_`` of them."""
    if some == all_ or not some:
        return found
    whole = found.times(all_ / some)
    longest = found.longest * between(1.0, 1.0, 1.5)
    return Lengths(number=whole.number, tokens=whole.tokens * SOME, longest=longest)


def _revising(
    recipe: Recipe,
    constitution: Constitution,
    prompts: Sequence[PromptRecord],
    helpful: _Tokens,
) -> Found:
    engine, some = helpful.engine(), _some(prompts)
    CritiqueRevision(engine, constitution, recipe.supervised, recipe.seed).chains(some)
    _, *requests = engine.calls
    critique = recipe.supervised.critique
    kinds = {
        "critique": engine.known(requests[::2] if critique else (), 1),
        "revision": engine.known(requests[1::2] if critique else requests, 1 + critique),
    }
    return {kind: _of_all(found, len(some), len(prompts)) for kind, found in kinds.items()}


def _questions(
    recipe: Recipe, rl: Reinforcement, inputs: Inputs, pretrained: _Tokens, helpful: _Tokens
) -> Found:
    constitution, data = inputs.constitution, inputs.rl
    if constitution is None or data is None or not rl.uses_feedback:
        return {}
    some, found = _some(data.comparisons), {}
    for arm, asked, kind in (
        ("rl_cai", rl.feedback, "question_cot" if rl.feedback.cot else "question"),
        ("rl_cai_cot", rl.labels_with_cot, "question_cot"),
    ):
        if arm in rl.arms:
            model = helpful if asked.cot or rl.feedback_model == "helpful" else pretrained
            if rl.feedback_model in inputs.named:
                model = _Tokens(inputs, inputs.named[rl.feedback_model])
            questions = _asked(model, constitution, asked, recipe.seed, _pairs(some))
            found[kind] = _of_all(questions, len(some), len(data.comparisons))
    return found


def _pairs(prompts: Iterable[PromptRecord]) -> list[Pair]:
    return [Pair(p.id, p.conversation, WORD, WORD, p.tags) for p in prompts]


def _asked(
    model: _Tokens,
    constitution: Constitution,
    asked: FeedbackConfig,
    seed: int,
    pairs: Sequence[Pair],
) -> Lengths:
    """The questions about ``pairs``; with a chain of thought the requests for it."""
    engine = model.engine()
    FeedbackModel(engine, constitution, asked, seed).label(pairs)
    return engine.known(engine.calls[:1], 2)


def _rl_prompts(recipe: Recipe, rl: Reinforcement, data: RLInputs, pretrained: _Tokens) -> Found:
    def human(source: HumanData) -> Lengths:
        return pretrained.prompts(source.prompts)

    return {
        "rl.comparisons": pretrained.prompts(data.comparisons),
        "rl.helpfulness": human(data.helpfulness),
        "rl.harmlessness": human(data.harmlessness),
        "rl.training": _drawn(recipe, rl, data, pretrained),
    }


def _drawn(recipe: Recipe, rl: Reinforcement, data: RLInputs, pretrained: _Tokens) -> Lengths:
    """The prompts of every step, as the training draws them."""
    config, drawn = rl.training, Counter[int]()
    prompts = Prompts(data.red_team, data.helpful)
    if isinstance(config, DPOConfig):
        size, times, steps = config.measured_answers, 2, 1
    else:
        (size, times), steps = prompts_in_step(config), config.steps
    for step in range(steps):
        batch = prompts.batch(step, size, config.red_team_share, recipe.seed)
        drawn.update(id(prompt) for prompt in batch)
    lengths = []
    for prompt in (*data.red_team, *data.helpful):
        if drawn[id(prompt)]:
            one = pretrained.prompts([prompt]).tokens.value
            lengths += [int(one)] * (drawn[id(prompt)] * times)
    return Lengths.of(lengths)


def _rl_texts(data: RLInputs, pretrained: _Tokens) -> Found:
    def both(comparisons: Iterable[Comparison]) -> Lengths:
        return pretrained.texts(
            c.prompt.add("assistant", text) for c in comparisons for text in (c.a, c.b)
        )

    return {
        "rl.pmp": both(data.ranked),
        "rl.helpfulness": both(data.helpfulness.comparisons),
        "rl.harmlessness": both(data.harmlessness.comparisons),
    }


def _evaluation(recipe: Recipe, inputs: Inputs, helpful: _Tokens) -> Found:
    evaluation, constitution, found = recipe.evaluation, inputs.constitution, {}
    assert evaluation is not None
    if evaluation.prompted and constitution is not None:
        found["prompted"] = helpful.prompts(inputs.evaluation, in_system_prompt(constitution))
    judge = evaluation.ai_judge
    if judge is None or inputs.ai_judge is None or constitution is None:
        return found
    asked, model = (
        FeedbackConfig(orders="both", few_shots=judge.few_shots),
        _Tokens(inputs, inputs.ai_judge),
    )
    for goal in judge.goals:
        harm = goal == "harmlessness"
        kind = "red_team" if harm else "helpful"
        prompts = [p for p in inputs.evaluation if p.kind == kind]
        by = constitution if harm else HELPFULNESS
        questions = _asked(model, by, asked, recipe.seed, _pairs(prompts))
        # principles are drawn anew for each pair of policies; the same answer twice is not asked
        found[f"judge.{goal}"] = Lengths(
            number=questions.number * between(0.5, 0.95, 1.0),
            tokens=questions.tokens * SOME * between(0.5, 0.95, 1.0),
            longest=questions.longest,
        )
    return found
