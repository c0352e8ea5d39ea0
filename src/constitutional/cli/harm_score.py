"""``cai eval harm-score``: the mean absolute harm of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from constitutional.cli.tables import print_estimates


def harm_score(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Answers with their prompts: a stage folder of a run, JSON lines with prompt and "
            "response, or official samples."
        ),
    ],
    model: Annotated[Path, typer.Option("--model", help="A harm score folder of ours.")],
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Mean predicted harm (0 to 4) of each file's answers, with an interval over prompts."""
    from constitutional.errors import InputError
    from constitutional.evaluation.harm_score import answered, mean_harm
    from constitutional.evaluation.texts import read_texts

    if len(set(files)) < len(files):
        raise InputError("a file of answers is named twice: name each once")
    answers = {str(path): read_texts(path) for path in files}
    conversations = {
        path: [answered(text, path) for text in texts] for path, texts in answers.items()
    }

    from constitutional.preference.harm_model import HarmScore

    scorer = HarmScore.load(model, device=device, batch_size=batch_size)
    found = {
        path: mean_harm(scorer.scores_that_fit(whole), [text.prompt for text in answers[path]])
        for path, whole in conversations.items()
    }
    if as_json:
        print(json.dumps({path: m.model_dump(mode="json") for path, m in found.items()}, indent=2))
        return
    counts = [
        f"{path}: {m.answers} answers, {m.too_long} too long"
        + ("" if m.mean else "; fewer than two prompts have no interval")
        for path, m in found.items()
    ]
    print_estimates(
        f"harm from 0 to 4, {model}",
        {path: m.mean for path, m in found.items()},
        what="answers",
        counted="prompts",
        caption="; ".join(counts),
    )
