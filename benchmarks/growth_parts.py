"""The parts of a run that :mod:`growth` measures, each on a run whose engine is scripted."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from constitutional.constitution import load_constitution
from constitutional.dialogue import Conversation, PromptKind
from constitutional.engines import Completion, SamplingParams, ScriptedEngine
from constitutional.engines.base import Engine, Prompt
from constitutional.engines.pool import Engines, EngineSpecs
from constitutional.evaluation.verdicts import Preference, Verdict
from constitutional.execution.here import Here
from constitutional.inputs import Inputs
from constitutional.inputs.data import DataReader
from constitutional.inputs.models import Model
from constitutional.inputs.records import HumanData, RLInputs
from constitutional.jobs import Finetuning, PreferenceTraining
from constitutional.microworld import data_file
from constitutional.microworld.human import Human
from constitutional.microworld.oracle import Oracle
from constitutional.recipe import Recipe
from constitutional.runs import Journal, Progress, QuietProgress, RunFolder, read_records
from constitutional.runs.records import Answer, Chain, Comparison, Reply
from constitutional.spool import Spooled
from constitutional.stages import comparisons as compared
from constitutional.stages import evaluation as evaluated
from constitutional.stages import reinforcement, supervised
from constitutional.stages.arms import ARMS
from constitutional.stages.context import Context

RED_TEAM, HELPFUL = "red_team.jsonl", "helpful.jsonl"
MODEL = Model("scripted", "transcript", "scripted")


def write_prompts(folder: Path, count: int) -> None:
    """Both files of so many prompts; the same bytes for the same count."""
    kinds: tuple[PromptKind, ...] = ("red_team", "helpful")
    for kind, name in zip(kinds, (RED_TEAM, HELPFUL), strict=True):
        lines = data_file(f"prompts/supervised_{kind}.jsonl").read_text().splitlines()
        asked = [json.loads(line)["conversation"]["turns"] for line in lines]
        asked = [turns[0]["text"] for turns in asked if len(turns) == 1]
        with (folder / name).open("w") as file:
            for number in range(count):
                before, last = asked[number % len(asked)], asked[-1 - number // len(asked)]
                turns = Conversation.of(before, "What else?", last)
                file.write(json.dumps({"conversation": turns.model_dump()}) + "\n")


class Forgetful(ScriptedEngine):
    """A scripted engine that keeps no requests, as no other engine does."""

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """One completion for each prompt, in order."""
        self.requests.clear()
        return super().sample(prompts, params, seeds)

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """For each prompt the log-probabilities of the choices."""
        self.requests.clear()
        return super().choice_logprobs(prompts, choices)


class OneScript(Engines):
    """The same scripted engine under every name: answers of the microworld, drawn by seed."""

    def __init__(self, account: Any):
        super().__init__(EngineSpecs({}, "transcript", "cpu", "float32", 1), account)
        lines = data_file("prompts/ranked_answers.jsonl").read_text().splitlines()
        answers = (answer["text"] for line in lines for answer in json.loads(line)["answers"])
        texts = list(islice(answers, 500))
        self._script = Forgetful(
            lambda text, seed: f" {texts[seed % len(texts)]}",
            choices=lambda text, choices: [(len(text) % 7 + 1) / 9, 1 - (len(text) % 7 + 1) / 9],
        )

    def __getitem__(self, name: str) -> Engine:
        """The engine."""
        return self._script


@dataclass(frozen=True)
class LastAsked:
    """The oracle and the human of the microworld, on what was asked last."""

    name: str = "microworld oracle"

    def judge(self, conversation: Conversation, answer: str) -> Verdict:
        """What the answer does."""
        return Oracle().judge(_last(conversation), answer)

    def prefer_harmless(self, conversation: Conversation, a: str, b: str) -> Preference:
        """Which answer is less harmful."""
        return Oracle().prefer_harmless(_last(conversation), a, b)

    def prefer_helpful(self, conversation: Conversation, a: str, b: str) -> Preference:
        """Which answer helps more."""
        return Human().prefer_helpful(_last(conversation), a, b)

    def prefer_by(self, principles: Any, conversation: Conversation, a: str, b: str) -> Preference:
        """Which answer is better by the principles."""
        return Oracle().prefer_by(principles, _last(conversation), a, b)


def _last(conversation: Conversation) -> Conversation:
    return Conversation(turns=conversation.turns[-1:])


class Untrained(Here):
    """Goes through the data of a training as the training does first, and trains nothing."""

    def train(
        self, training: Callable[..., Any], work: Path, progress: Progress, processes: int = 1
    ) -> None:
        """Leave how much there was to train on."""
        job = training.args[0]  # type: ignore[attr-defined]  # a partial of run_job
        match job:
            case Finetuning():
                count = sum(1 for _ in job.conversations)
            case PreferenceTraining():
                count = sum(1 for _ in job.comparisons) + sum(1 for _ in job.held_out)
        (work / "result").mkdir(parents=True)
        (work / "result/count").write_text(str(count))


def _recipe(folder: Path) -> Recipe:
    red_team, helpful = ({"file": str(folder / name)} for name in (RED_TEAM, HELPFUL))
    return Recipe.model_validate(
        {
            "name": "growth",
            "constitution": str(data_file("constitution.yaml")),
            "models": {"pretrained": "scripted", "helpful": "scripted"},
            "prompts": {"red_team": red_team, "helpful": helpful},
            "supervised": {"rounds": 2, "few_shots": 0, "max_new_tokens": 48},
            "rl": {
                "comparisons": red_team,
                "red_team": red_team,
                "helpful": helpful,
                "feedback": {"orders": "both", "few_shots": 0, "principles_per_pair": 1},
                "helpfulness": {"prompts": helpful},
            },
            "evaluation": {
                "red_team": red_team,
                "helpful": helpful,
                "judge": "microworld",
                "max_new_tokens": 48,
            },
        }
    )


def _read(folder: Path, recipe: Recipe) -> Inputs:
    """Both prompt files, for whatever reads prompts."""
    data = DataReader(0, folder)
    assert recipe.prompts is not None and recipe.rl is not None
    red_team = data.prompts(recipe.prompts.red_team, "red_team", "prompts.red_team")
    helpful = data.prompts(recipe.prompts.helpful, "helpful", "prompts.helpful")
    human = LastAsked("human")
    return Inputs(
        constitution=load_constitution(data_file("constitution.yaml")),
        demonstrations=(),
        red_team=red_team,
        helpful=helpful,
        evaluation=Spooled(
            islice(chain.from_iterable(zip(red_team, helpful, strict=True)), len(red_team))
        ),
        judge=LastAsked(),
        pretrained_model=MODEL,
        helpful_model=MODEL,
        rl=RLInputs(red_team, (), HumanData(prompts=helpful, rater=human), HumanData(), (), (), ()),
        rated=(),
        harm_prompts=(),
        ai_judge=None,
        notes=tuple(data.notes),
    )


def _finetuning(context: Context) -> object:
    stages = context.run.path / "stages"
    return supervised.finetune_on_revisions(
        context,
        read_records(stages / "critique_revision", Chain),
        read_records(stages / "helpful_replies", Reply),
    )


def _comparisons(context: Context) -> compared.Comparisons:
    stages = context.run.path / "stages"
    ai, human = (
        read_records(stages / f"comparisons_{n}", Comparison) for n in ("ai", "helpfulness")
    )
    return compared.Comparisons(ai, human)


def _preference(context: Context) -> object:
    return reinforcement.train_preference_models(context, ARMS["rl_cai"], _comparisons(context))


def _account(context: Context) -> object:
    return compared.label_metrics(context, ARMS["rl_cai"], _comparisons(context))


def _summary(context: Context) -> object:
    stages = context.run.path / "stages"
    records = read_records(stages / "answers_sl_cai", Answer)
    answers = {"sl_cai": records, "rl_cai": records}
    return evaluated.summarise(
        context, read_records(stages / "critique_revision", Chain), answers, {}
    )


#: Each part of a run: the stage's name where it leaves one.
PARTS: dict[str, Callable[[Context], object]] = {
    "inputs": lambda context: context.inputs.hashes,
    "critique_revision": supervised.critique_and_revise,
    "helpful_replies": supervised.reply_to_helpful_prompts,
    "comparisons_ai": lambda c: compared.compare(c, ARMS["rl_cai"], Path("scripted")),
    "comparisons_helpfulness": lambda c: compared.compare(c, ARMS["helpful_rlhf"], None),
    "answers_sl_cai": lambda c: evaluated.evaluate(c, {"sl_cai": "scripted"}),
    "sl_cai": _finetuning,
    "preference_model_rl_cai": _preference,
    "label_metrics": _account,
    "summary": _summary,
}


def measure(part: str, folder: Path) -> dict[str, float]:
    """Seconds of a part, in all and of the CPU and the journal; MiB before it and at most."""
    recipe, before = _recipe(folder), _peak()
    begin = time.perf_counter(), time.process_time()
    inputs = _read(folder, recipe)
    if part != "inputs":
        begin = time.perf_counter(), time.process_time()
    with (
        RunFolder.open(folder / "run", recipe.model_dump(mode="json"), command="growth") as run,
        timed_journal() as (journal, opened),
    ):
        context = Context(recipe, inputs, run, QuietProgress(), Untrained())
        context.engines = OneScript(run.usage)
        PARTS[part](context)
    seconds, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
    return {
        "seconds": seconds,
        "cpu": cpu,
        "journal": sum(journal),
        "before": before,
        "peak": _peak(),
        "descriptors": max([*opened, _descriptors()]),
    }


@contextmanager
def timed_journal() -> Iterator[tuple[list[float], list[int]]]:
    """The seconds of each append, which are within those of the part, and the files open then."""
    seconds: list[float] = []
    opened: list[int] = []
    append = Journal.append

    def timed(journal: Journal[Any], records: Sequence[Any]) -> None:
        start = time.perf_counter()
        append(journal, records)
        seconds.append(time.perf_counter() - start)
        opened.append(_descriptors())

    Journal.append = timed  # type: ignore[method-assign]
    try:
        yield seconds, opened
    finally:
        Journal.append = append  # type: ignore[method-assign]


def _descriptors() -> int:
    """The files, sockets and the like that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def _peak() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
