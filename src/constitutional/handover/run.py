"""What a run hands over: policy, preference model, prompts, pairs and settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from constitutional.dialogue import Conversation, PromptRecord, chat_messages, prompt_for
from constitutional.dialogue.control import guarded, guarded_turn, visible
from constitutional.dialogue.quoting import quoted
from constitutional.dialogue.tokens import prompt_ids, prompt_text
from constitutional.engines.base import Message
from constitutional.engines.loading import load_tokenizer
from constitutional.errors import InputError, RunFolderError, nearest
from constitutional.inputs import RLInputs, read_rl_data
from constitutional.preference.begin import Card
from constitutional.preference.model import CARD
from constitutional.recipe import ArmName, Recipe, Reinforcement, resource
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import DPOConfig, GRPOConfig, PPOConfig, RLOOConfig
from constitutional.runs import read_records
from constitutional.runs.lines import escaped
from constitutional.runs.manifest import Manifest, read_run
from constitutional.runs.records import Comparison
from constitutional.runs.stage import read_state
from constitutional.stages.arms import ARMS, arm_of

STAGES = "stages"
#: The inputs of a run that are read again, and must be what they were.
_READ = ("rl.red_team", "rl.helpful", "rl.helpfulness", "rl.harmlessness")


@dataclass(frozen=True)
class HandOver:
    """One arm of a run."""

    run: Path
    arm: ArmName
    policy: str
    preference_model: Path
    card: Card
    tokenizer: Any
    config: PPOConfig | RLOOConfig | GRPOConfig | DPOConfig
    prompts: Prompts
    comparisons: tuple[Comparison, ...]
    seed: int

    @property
    def group_size(self) -> int:
        """Answers to each prompt."""
        return self.config.group_size if isinstance(self.config, RLOOConfig | GRPOConfig) else 1

    def drawn(self, group_size: int) -> list[PromptRecord]:
        """The prompts of all steps in the order in which a training here draws them.

        Each is to be answered ``group_size`` times. DPO has no steps: all prompts, once.
        """
        config = self.config
        if isinstance(config, DPOConfig):
            return [*self.prompts.red_team, *self.prompts.helpful]
        size = config.batch_size // group_size
        return [
            record
            for step in range(config.steps)
            for record in self.prompts.batch(step, size, config.red_team_share, self.seed)
        ]

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt."""
        records = (*self.prompts.red_team, *self.prompts.helpful)
        prompts = (self._prompt(record.conversation) for record in records)
        return max(len(prompt_ids(self.tokenizer, prompt)) for prompt in prompts)

    def text(self, conversation: Conversation) -> str:
        """The prompt as our engine writes it, with its special tokens."""
        return prompt_text(self.tokenizer, self._prompt(conversation))

    def messages(self, conversation: Conversation) -> list[dict[str, str]]:
        """The conversation as messages for a program that renders them and makes the tokens."""
        return [as_dict(message) for message in chat_messages(self.shown(conversation))]

    def unaltered(self, conversation: Conversation) -> str:
        """The messages as they were written, as JSON: for our reward service, which sees to it."""
        messages = [as_dict(message) for message in chat_messages(conversation)]
        return json.dumps(messages, ensure_ascii=False)

    def shown(self, conversation: Conversation) -> Conversation:
        """The conversation without a text that another program would take for the end of a turn."""
        turns = [
            turn.model_copy(update={"text": self.plain(turn.text)}) for turn in conversation.turns
        ]
        return Conversation(turns=tuple(turns))

    def plain(self, text: str) -> str:
        """A text whose markers and control tokens are broken up by a backslash."""
        if self.card.style == "transcript":
            return visible(guarded(self.tokenizer, quoted(text)))
        return visible(guarded_turn(self.tokenizer, text))

    def answered(self, answer: str) -> str:
        """An answer as it stands behind :meth:`text`, with its end-of-context token."""
        blank = " " if self.card.style == "transcript" else ""
        return f"{blank}{self.plain(answer)}{self.card.end_token}"

    @property
    def labelled(self) -> list[Comparison]:
        """The comparisons with a label, the better answer as a."""
        return [
            pair if pair.prob_a >= 0.5 else pair.swap()
            for pair in self.comparisons
            if pair.prob_a is not None
        ]

    def _prompt(self, conversation: Conversation) -> Any:
        return prompt_for(conversation, "assistant", self.card.style)


def as_dict(message: Message) -> dict[str, str]:
    """A message as every library reads it."""
    return {"role": message.role, "content": message.content}


def read_hand_over(folder: Path, *, arm: str | None, base: Path | None) -> HandOver:
    """What the run in ``folder`` hands over of ``arm``, of its first arm without one.

    The prompts are read again from the files of the recipe, whose paths start from ``base``, by
    default the folder of the recipe that the run's command names, and must be those of the run.
    Raises InputError or RunFolderError.
    """
    manifest, resolved = read_run(folder)
    recipe = _recipe(folder, resolved)
    if recipe.rl is None:
        raise InputError(f"{folder} is a run without an RL stage, which has nothing to hand over")
    chosen = _arm(recipe.rl, arm)
    base = base or manifest.recipe_folder
    data = _data(folder, recipe, manifest, base)
    policy = _policy(folder, recipe, chosen, base)
    preference_model = _result(folder, f"preference_model_{chosen}")
    return HandOver(
        run=folder.resolve(),
        arm=chosen,
        policy=policy,
        preference_model=preference_model,
        card=Card.model_validate_json((preference_model / CARD).read_bytes()),
        tokenizer=load_tokenizer(policy),
        config=recipe.rl.training,
        prompts=Prompts(data.red_team, data.helpful),
        comparisons=tuple(_comparisons(folder, chosen, data)),
        seed=recipe.seed,
    )


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(escaped(json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)


def _recipe(folder: Path, resolved: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(resolved)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunFolderError(
            f"{folder} holds a run of another version ({where}: {first['msg']}): export it with "
            "the version that made it"
        ) from None


def _arm(rl: Reinforcement, name: str | None) -> ArmName:
    if name is None:
        return rl.arms[0]
    for arm in rl.arms:
        if arm == name:
            return arm
    raise InputError(f"the run has no arm {name!r}: {nearest(name, rl.arms)}")


def _data(folder: Path, recipe: Recipe, manifest: Manifest, base: Path) -> RLInputs:
    with TemporaryDirectory() as aside:
        data = read_rl_data(recipe, base, skipped=Path(aside))
    changed = [key for key in _READ if data.hashes.get(key) != manifest.inputs.get(key)]
    if changed:
        raise RunFolderError(
            f"{folder} was made from other contents of {', '.join(changed)}: restore the files, or "
            "say with --base in which folder the recipe's paths start"
        )
    return data


def _policy(folder: Path, recipe: Recipe, arm: ArmName, base: Path) -> str:
    """What the arm's training begins from, as the pipeline has it."""
    if recipe.demonstrations is not None:
        return str(_result(folder, "sft"))
    assert recipe.rl is not None  # it has the arm
    start = arm_of(recipe.rl, arm).begins_from
    if start == "sl_cai":
        return str(_result(folder, "sl_cai"))
    model = recipe.models.helpful if start == "helpful" else recipe.models.pretrained
    found = resource(model or recipe.models.pretrained, base)
    return str(Path(found).resolve()) if Path(found).is_dir() else found


def _result(folder: Path, stage: str) -> Path:
    where = folder / STAGES / stage
    if not where.is_dir() or not read_state(where).done:
        raise RunFolderError(
            f"the stage {stage} of {folder} is not finished: go on with the run until it is"
        )
    return (where / "result").resolve()


def _comparisons(folder: Path, arm: ArmName, data: RLInputs) -> Iterable[Comparison]:
    """The comparisons that the arm's preference model learned from, held-out ones too."""
    match ARMS[arm].harmlessness:
        case "ai":
            yield from _records(folder, "comparisons_ai")
        case "ai_cot":
            yield from _records(folder, "comparisons_ai_cot")
        case "human_on_own_pairs":
            yield from _records(folder, "comparisons_human")
        case "human":
            yield from data.harmlessness.comparisons or _records(folder, "comparisons_harmlessness")
    yield from data.helpfulness.comparisons or _records(folder, "comparisons_helpfulness")


def _records(folder: Path, stage: str) -> Sequence[Comparison]:
    return read_records(folder / STAGES / stage, Comparison)
