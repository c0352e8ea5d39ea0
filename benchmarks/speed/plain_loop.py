"""Constitutional AI as a script of the usual parts, at the settings of ``cai demo``.

    python -m benchmarks.speed.plain_loop OUT THREADS RECIPE     (with the last TRL with PPO)

``generate`` turn by turn, SFTTrainer, ``generate`` for the pairs, a forward pass for each label,
RewardTrainer twice (ranked answers, then comparisons), PPOTrainer, ``generate`` for the evaluation.
Principles, pairs, questions and verdicts are ours, so that the work is the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.speed import trl_ppo, trl_trainings
from benchmarks.speed.generating import GenerateEngine
from benchmarks.speed.measuring import Clock

from constitutional.evaluation.answers import answer_prompts
from constitutional.evaluation.behaviour import behaviour_shares
from constitutional.feedback import FeedbackModel, sample_pairs
from constitutional.inputs import Inputs, load_inputs
from constitutional.preference.model import PreferenceModel
from constitutional.preference.settings import PreferenceConfig
from constitutional.recipe import Recipe, load_recipe
from constitutional.rl.rollout import Prompts
from constitutional.runs.records import Answer, Comparison
from constitutional.stages.comparisons import Comparisons, HumanLabels
from constitutional.stages.reinforcement import share_out
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.training_data import training_examples

RESULT = "result.json"


class PlainLoop:
    """The parts in their order; each leaves what the next one needs in ``out``."""

    def __init__(self, recipe: Recipe, inputs: Inputs, out: Path):
        assert recipe.rl is not None and inputs.rl is not None and inputs.constitution is not None
        assert inputs.helpful_model is not None
        self.recipe, self.inputs, self.out = recipe, inputs, out
        self.rl, self.rl_inputs, self.constitution = recipe.rl, inputs.rl, inputs.constitution
        self.pretrained = Path(inputs.pretrained_model.path)
        self.helpful = Path(inputs.helpful_model.path)
        self.seconds: dict[str, float] = {}

    def run(self) -> list[Answer]:
        """All parts; the answers of the last policy."""
        with self._timed("chains_and_replies"):
            examples = self._supervised_data()
        with self._timed("sft"):
            config = self.recipe.finetune
            sl_cai = self.out / "sl_cai"
            trl_trainings.finetune(
                self.pretrained, examples, config, sl_cai, self.recipe.seed, Clock()
            )
        with self._timed("labels"):
            comparisons = self._comparisons(sl_cai / "result")
        with self._timed("pm"):
            preference_model = self._preference_model(comparisons)
        with self._timed("ppo"):
            policies = self._policies(sl_cai / "result", preference_model)
        with self._timed("evaluation"):
            first = {"pretrained": self.pretrained, "helpful": self.helpful}
            every = {**first, "sl_cai": sl_cai / "result", **policies}
            answers = {name: self._answers(name, folder) for name, folder in every.items()}
        return answers["rl_cai"]

    def _supervised_data(self) -> list:  # type: ignore[type-arg]
        """Chains and replies by the helpful model, as examples."""
        engine, recipe = self._engine(self.helpful), self.recipe
        writer = CritiqueRevision(engine, self.constitution, recipe.supervised, recipe.seed)
        chains, replies = writer.chains(self.inputs.red_team), writer.replies(self.inputs.helpful)
        found = training_examples(chains, replies, revisions=recipe.finetune.revisions)
        return [example.conversation for example in found]

    def _comparisons(self, sl_cai: Path) -> list[Comparison]:
        """AI labels for harmlessness, the oracle's for helpfulness; those to train on."""
        seed, pretrained = self.recipe.seed, self._engine(self.pretrained)
        writers = [self._engine(sl_cai), pretrained]
        pairs = sample_pairs(self.rl_inputs.comparisons, writers, self.rl.pairs, seed)
        ai = FeedbackModel(pretrained, self.constitution, self.rl.feedback, seed).label(pairs)
        human = self.rl_inputs.helpfulness
        assert human.rater is not None
        labels = HumanLabels(("pretrained",), self.rl.pairs, human.rater, "helpfulness", seed)
        helpfulness = labels(human.prompts, {"pretrained": pretrained})  # type: ignore[arg-type]
        return list(share_out(Comparisons(ai, helpfulness), self.rl.held_out, halves=False).train)

    def _preference_model(self, comparisons: Sequence[Comparison]) -> Path:
        """Trained on ranked answers, then on the comparisons."""
        begun, pmp = self.out / "begun", self.rl.pmp
        assert pmp is not None
        PreferenceModel.begin(self.pretrained, style="transcript", seed=0).save(begun)
        first = PreferenceConfig(**pmp.model_dump(exclude={"file", "binarise"}))
        ranked, train, seed = (
            self.rl_inputs.ranked,
            trl_trainings.train_preference_model,
            self.recipe.seed,
        )
        train(begun, ranked, first, self.out / "pmp", seed, Clock())
        pretrained, config = self.out / "pmp" / "result", self.rl.preference
        train(pretrained, comparisons, config, self.out / "pm", seed, Clock())
        return self.out / "pm" / "result"

    def _policies(self, sl_cai: Path, preference_model: Path) -> dict[str, Path]:
        """RL-CAI and its snapshots."""
        out, config, seed = self.out / "rl_cai", self.rl.ppo, self.recipe.seed
        prompts = Prompts(self.rl_inputs.red_team, self.rl_inputs.helpful)
        trl_ppo.train_policy(sl_cai, preference_model, prompts, config, seed, out, Clock())
        snapshots = {folder.name: folder for folder in sorted(out.glob("step-*"))}
        return {**snapshots, "rl_cai": out / "result"}

    def _answers(self, name: str, folder: Path) -> list[Answer]:
        evaluation, inputs = self.recipe.evaluation, self.inputs
        assert evaluation is not None
        engine, seed = self._engine(folder), self.recipe.seed
        asked = inputs.evaluation
        return answer_prompts(name, engine, evaluation.sampling, inputs.judge, seed, asked)

    def _engine(self, folder: Path) -> GenerateEngine:
        models = self.recipe.models
        return GenerateEngine.load(
            folder, device=models.device, dtype=models.dtype, batch_size=models.batch_size
        )

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        clock = Clock()
        with clock():
            yield
        self.seconds[part] = clock.seconds
        print(f"{part}: {clock.seconds:.1f} s", file=sys.stderr, flush=True)


def quality(answers: Sequence[Answer]) -> dict[str, float]:
    """The oracle's shares of harm and of help, over all evaluation prompts."""
    shares = behaviour_shares([a.verdict for a in answers if a.verdict is not None])
    return {name: shares[name].value for name in ("harmful_compliance", "benign_correct")}


def main() -> None:
    """Run, and write times and quality."""
    import torch

    out, threads, file = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(threads)
    recipe = load_recipe(file)
    loop = PlainLoop(recipe, load_inputs(recipe, file.parent), out)
    found = {"quality": quality(loop.run()), "seconds": loop.seconds}
    (out / RESULT).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
