"""The oracle's verdict on harm never enters the training of a Constitutional AI arm.

By the imports: no wing that makes training data can reach the microworld. By behaviour: the data
are made while every verdict raises.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import constitutional
from constitutional.constitution import load_constitution
from constitutional.dialogue import PromptRecord
from constitutional.engines import ScriptedEngine
from constitutional.evaluation.verdicts import Behaviour
from constitutional.feedback.settings import FeedbackConfig, PairsConfig
from constitutional.inputs.data import DataReader
from constitutional.microworld import data_file
from constitutional.microworld import language as say
from constitutional.microworld.human import Human
from constitutional.microworld.oracle import Oracle
from constitutional.microworld.prompts import prompt_files
from constitutional.recipe import load_recipe
from constitutional.runs.records import Comparison
from constitutional.stages.arms import ARMS
from constitutional.stages.comparisons import AILabels, HumanLabelsOfAIPairs
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.settings import CritiqueRevisionConfig
from constitutional.supervised.training_data import training_examples

PACKAGE = Path(constitutional.__file__).parent
#: The wings that make training data and train; those not yet built are looked at once they are.
TRAINING = (
    "constitution",
    "dialogue",
    "engines",
    "red_teaming",
    "supervised",
    "feedback",
    "preference",
    "rl",
    "training",
    "training_settings",
)
#: Of the evaluation they may have its arithmetic and the words for its results, never a judge.
HARMLESS_MODULES = {
    "constitutional.evaluation.calibration",
    "constitutional.evaluation.intervals",
    "constitutional.evaluation.phrases",
    "constitutional.evaluation.verdicts",
}
HARMLESS_NAMES = {
    "constitutional.evaluation.calibration",
    # how a text is cut into words
    "constitutional.evaluation.phrases.words",
    "constitutional.evaluation.verdicts.Preference",
}
ARITHMETIC = ("constitutional.evaluation.intervals.", "constitutional.evaluation.calibration.")
#: Rooms that judge and train no policy, though they lie beside the preference model.
JUDGING = {"constitutional.preference.harm_model", "constitutional.preference.judged"}
#: Who may also speak of verdicts, and what for.
SPEAK_OF_VERDICTS = {"constitutional.feedback.pairs": "counts how many pairs differ, labels none"}


#: The package loads the module of a public name when it is asked for, and not before.
PUBLIC = {
    f"constitutional.{name}": f"constitutional.{home}"
    for name, home in constitutional._HOMES.items()
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
TRAINING_MODULES = sorted(
    m for m in MODULES if "." in m and m.split(".")[1] in TRAINING and m not in JUDGING
)


def running(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it but what only a type checker reads."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "typing.TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from running(child)


def imported_names(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Every module or name that is imported anywhere in a source, functions included."""
    for node in running(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*above, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and str(node.value).startswith("constitutional."):
            yield str(node.value)  # import_module("constitutional.microworld.oracle")


def names_of(module: str) -> set[str]:
    path = MODULES[module]
    return set(imported_names(path.read_text(), module, path.name == "__init__.py"))


def reachable(module: str) -> set[str]:
    """The package's modules that an import of this one may lead to, itself and parents included."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in PUBLIC:
            name = PUBLIC[name]
        while name and name not in MODULES:
            name = name.rpartition(".")[0]  # the name is one of a module's own
        if not name or name in found:
            continue
        found.add(name)
        waiting += names_of(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    return found


def test_the_walk_finds_every_way_to_import() -> None:
    source = """
import constitutional.microworld.oracle as o
from constitutional.microworld import oracle
from constitutional import microworld
def late():
    from ..microworld.oracle import Oracle
    import_module("constitutional.microworld.world")
if typing.TYPE_CHECKING:
    from constitutional.microworld.human import judge
"""
    names = set(imported_names(source, "constitutional.supervised.finetune", False))
    assert names == {
        "constitutional.microworld.oracle",
        "constitutional.microworld",
        "constitutional.microworld.oracle.Oracle",
        "constitutional.microworld.world",
    }
    # and the walk over modules does arrive where there is a way
    assert "constitutional.microworld.world" in reachable("constitutional.microworld.build")
    assert "constitutional.microworld.oracle" in reachable("constitutional.inputs")
    assert "constitutional.microworld.oracle" in reachable("constitutional.Run")


def test_there_are_training_modules() -> None:
    wings = {module.split(".")[1] for module in TRAINING_MODULES}
    assert {"supervised", "constitution", "dialogue", "engines"} <= wings
    assert "constitutional.supervised.training_data" in TRAINING_MODULES


@pytest.mark.parametrize("module", TRAINING_MODULES)
def test_no_training_module_imports_the_oracle_or_a_judge(module: str) -> None:
    allowed = set(HARMLESS_NAMES)
    if module in SPEAK_OF_VERDICTS:
        allowed.add("constitutional.evaluation.verdicts.Verdict")
    judging = ("constitutional.microworld", "constitutional.evaluation")
    names = {name for name in names_of(module) if name.startswith(judging)}
    assert {name for name in names if not name.startswith(ARITHMETIC)} <= allowed


@pytest.mark.parametrize("module", TRAINING_MODULES)
def test_no_training_module_reaches_them_by_way_of_others(module: str) -> None:
    reached = reachable(module)
    assert not {m for m in reached if m.startswith("constitutional.microworld")}
    judging = {m for m in reached if m.startswith("constitutional.evaluation.")}
    assert judging <= HARMLESS_MODULES


# --- by behaviour -----------------------------------------------------------------------------


class Asked(Exception):
    """The oracle was asked."""


@pytest.fixture
def silent_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Asked

    for verdict in ("judge", "prefer_harmless", "judge_critique"):
        monkeypatch.setattr(Oracle, verdict, refuse)


def script(text: str, seed: int) -> str:
    """A model that helps with everything, and then revises to one of several answers."""
    if text.endswith("Critique:"):
        return " The assistant's response is harmful."
    if text.endswith("Revision:"):
        return (" I do not know what to say.", " Sure, do it.", " I will not help you.")[seed % 3]
    return " Sure, get a heavy boot first. Then kick your dog and watch its feet."


def test_the_training_data_are_made_without_a_verdict(silent_oracle: None) -> None:
    files = prompt_files(0)
    red_team: list[PromptRecord] = files["supervised_red_team.jsonl"][:40]
    helpful: list[PromptRecord] = files["supervised_helpful.jsonl"][:40]
    with pytest.raises(Asked):
        Oracle().judge(red_team[0].conversation, "Sure.")

    constitution = load_constitution(data_file("constitution.yaml"))
    config = CritiqueRevisionConfig(rounds=3, few_shots=0)
    stage = CritiqueRevision(ScriptedEngine(script), constitution, config, 0)
    chains, replies = stage.chains(red_team), stage.replies(helpful)
    examples = list(training_examples(chains, replies))
    assert [len(chain.rounds) for chain in chains] == [3] * 40
    assert sum(e.source == "revision" for e in examples) == 3 * 40
    assert sum(e.source == "helpful" for e in examples) == 2 * 40


def test_what_is_trained_on_does_not_depend_on_harm() -> None:
    """Harmful and harmless revisions alike are trained on: their shape alone decides."""
    prompts = prompt_files(0)["supervised_red_team.jsonl"][:60]

    def comply_or_refuse(text: str, seed: int) -> str:
        request = say.read_request(asked[text.split("\n\nAssistant:")[0]])
        assert request is not None
        return " " + (say.help_with(request, 0) if seed % 2 else say.refuse_barely(request, 0))

    asked = {}
    for prompt in prompts:
        first = "\n\nHuman: " + prompt.conversation.turns[0].text
        asked[first] = prompt.conversation
    constitution = load_constitution(data_file("constitution.yaml"))
    config = CritiqueRevisionConfig(rounds=1, few_shots=0, critique=False)
    chains = CritiqueRevision(ScriptedEngine(comply_or_refuse), constitution, config, 0).chains(
        prompts
    )
    examples = list(training_examples(chains, []))
    assert len(examples) == len(prompts)
    verdicts = [
        Oracle().judge(prompt.conversation, e.conversation.last.text)
        for prompt, e in zip(prompts, examples, strict=True)
    ]
    behaviours = {v.behaviour for v in verdicts}
    assert behaviours == {Behaviour.HELPS, Behaviour.POOR_REFUSAL}
    assert {v.harm for v in verdicts} == {0, 4}


# --- the arm that people label, and those that they do not -------------------------------------


def answer_or_label(text: str, seed: int) -> str:
    """A policy that helps or refuses."""
    return (" Sure, get a heavy boot first. Then kick your dog.", " I will not help you.")[seed % 2]


def labels_made(work: AILabels | HumanLabelsOfAIPairs) -> list[Comparison]:
    engines = {
        "policy": ScriptedEngine(answer_or_label),
        "other": ScriptedEngine(answer_or_label),
        "labeller": ScriptedEngine(answer_or_label, choices=lambda text, letters: (0.9, 0.1)),
    }
    prompts = prompt_files(0)["preference_red_team.jsonl"][:20]
    return work(prompts, engines)  # type: ignore[arg-type]


def test_ai_labels_are_made_without_a_person_and_those_of_the_control_are_not(
    silent_oracle: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pairs: the feedback model labels them while the oracle is silent, people cannot."""
    constitution = load_constitution(data_file("constitution.yaml"))
    pairs, feedback = PairsConfig(), FeedbackConfig(few_shots=0)
    writers = ("policy", "other")
    ai = labels_made(AILabels(writers, pairs, "labeller", constitution, feedback, 0))
    assert len(ai) == 20 and all(c.labeller != Human.name for c in ai)
    assert any(c.prob_a is not None for c in ai)
    with pytest.raises(Asked):
        labels_made(HumanLabelsOfAIPairs(writers, pairs, Human(), 0))
    monkeypatch.undo()
    human = labels_made(HumanLabelsOfAIPairs(writers, pairs, Human(), 0))
    assert [(c.id, c.a, c.b) for c in human] == [(c.id, c.a, c.b) for c in ai]
    assert {c.labeller for c in human} == {Human.name}


def test_only_the_arms_of_people_know_a_rater() -> None:
    """AI's labels have no place for one, and a recipe without people's arms reads none."""
    assert "rater" not in {f.name for f in fields(AILabels)}
    assert {name for name, arm in ARMS.items() if (arm.harmlessness or "").startswith("ai")} == {
        "rl_cai",
        "rl_cai_cot",
    }
    recipe = load_recipe(data_file("recipe.yaml"))
    assert recipe.rl is not None
    read = DataReader(0, data_file("recipe.yaml").parent)
    assert read.rl(recipe.rl).rater is None
    people = recipe.rl.model_copy(update={"arms": ("rl_human",)})
    assert isinstance(read.rl(people).rater, Human)
