"""What was run: models, data, settings; and how to run it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from constitutional.report.arms import made_by
from constitutional.report.blocks import Code, Fold, Pairs, Paragraph, Section, Table
from constitutional.report.names import shown
from constitutional.report.numbers import counted
from constitutional.report.one.view import View


def subtitle(view: View) -> str:
    """When, and how far it is."""
    run, manifest = view.run, view.run.manifest
    day = manifest.created.partition("T")[0]
    done = sum(stage.state.done for stage in run.stages)
    state = "finished" if run.finished else f"in progress, {counted(done, 'stage')} done"
    again = f", {counted(len(manifest.resumed), 'time')} resumed" if manifest.resumed else ""
    return f"Constitutional AI run of {day}, {state}{again}"


def what_was_run(view: View) -> Section:
    """The main settings, as the recipe has them, and all of it folded."""
    return Section("what", "What was run", [Pairs(list(_settings(view)))])


def repeat(view: View) -> Section:
    """The command, the versions, the recipe and the hashes of all that was read."""
    manifest = view.run.manifest
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    blocks: list[Any] = [
        Paragraph("The same command with the same versions and inputs repeats this run:"),
        Code(manifest.command),
        Paragraph(
            f"It ran with {versions}. On the same CPU with as many threads the same seed gives the "
            "same bytes. Another folder (--out) makes the run anew; the same folder goes on in it.",
            "note",
        ),
    ]
    if manifest.resumed:
        rows = [[one.time, one.command, _versions(one.versions)] for one in manifest.resumed]
        blocks.append(Fold("It was resumed", [Table(("when", "command", "versions"), rows)]))
    recipe = yaml.safe_dump(dict(view.run.recipe), sort_keys=False, allow_unicode=True, width=90)
    blocks.append(Fold("The resolved recipe", [Code(recipe)]))
    hashes = list(manifest.inputs.items())
    blocks.append(Fold("SHA-256 of what was read", [Pairs(hashes)]))
    return Section("repeat", "To repeat it", blocks)


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _settings(view: View) -> Iterator[tuple[str, str]]:
    recipe, run = view.run.recipe, view.run
    yield "recipe", f"{recipe.get('name')}, seed {recipe.get('seed')}"
    models = recipe.get("models") or {}
    yield "pretrained model", str(models.get("pretrained"))
    for role in ("helpful", "critic"):
        if models.get(role):
            yield f"{role} model", str(models[role])
    yield "constitution", _constitution(view)
    if recipe.get("prompts"):
        supervised = recipe.get("supervised") or {}
        how = "critique and revision" if supervised.get("critique", True) else "direct revision"
        yield (
            "supervised stage",
            f"{counted(supervised.get('rounds', 0), 'round')} of {how} on "
            f"{counted(len(run.chains), 'red-team prompt')}; "
            f"{counted(len(run.replies), 'helpful prompt')} beside them",
        )
    elif recipe.get("demonstrations"):
        yield "supervised stage", "finetuning on demonstrations"
    yield from _reinforcement(view)
    evaluation = recipe.get("evaluation")
    if evaluation:
        judge = evaluation.get("judge") or "none"
        answers = [len(records) for records in run.answers().parts.values()]
        asked = counted(max(answers, default=0), "prompt")
        yield "evaluation", f"{asked} to each policy; judge: {judge}"


def _reinforcement(view: View) -> Iterator[tuple[str, str]]:
    rl = view.run.recipe.get("rl")
    if not rl:
        return
    makes = str(rl.get("algorithm")).upper() if rl.get("policy", True) else "no policy"
    yield "RL", f"{makes}: {', '.join(map(shown, view.run.arms))}"
    for arm, entry in view.arms.items():
        if made := made_by(entry):
            yield shown(arm), made
    found = view.run.comparisons
    said = [
        f"{counted(len(found.ai), 'pair')} labelled by {rl.get('feedback_model')}" * bool(found.ai),
        f"{counted(len(found.human), 'pair')} by a rater" * bool(found.human),
    ]
    if any(said):
        yield "comparisons", ", ".join(filter(None, said))


def _constitution(view: View) -> str:
    files = ", ".join(view.run.recipe.get("constitution") or ()) or "none"
    if view.constitution is None:
        return files
    principles = counted(len(view.constitution.principles), "principle")
    return f"{view.constitution.name} ({principles}), from {files}"
