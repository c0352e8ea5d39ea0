"""Chains, and pairs with labels, by a model behind a server: the stages of a run that ask one.

python tests/engines/http/faulty_run.py URL OUT --prompts 500 --block 128
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from constitutional.constitution import load_constitution
from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.pool import Engines, EngineSpecs
from constitutional.execution.here import Here
from constitutional.feedback import FeedbackConfig
from constitutional.feedback.settings import PairsConfig
from constitutional.runs import Progress, QuietProgress, RunFolder
from constitutional.runs.records import Chain, Comparison
from constitutional.stages.comparisons import AILabels
from constitutional.stages.supervised import Chains
from constitutional.supervised import CritiqueRevisionConfig

#: Requests for each prompt where none ends early: response, critique, revision; two answers, and
#: the question in both orders.
REQUESTS = 7
FAR = "far"


def prompts(count: int) -> list[PromptRecord]:
    """So many different ones."""
    return [
        PromptRecord(
            id=f"prompt-{number}",
            conversation=Conversation.of(f"How is box number {number} opened?"),
            kind="red_team",
            source="here",
        )
        for number in range(count)
    ]


def work(
    out: Path,
    url: str,
    count: int,
    *,
    block: int,
    limits: dict[str, Any],
    progress: Progress | None = None,
    **more: Any,
) -> None:
    """Make both stages in the run folder ``out``, or go on with them."""
    constitution = load_constitution("default")
    settings = OpenAISettings.model_validate(
        {"engine": "openai", "model": "faulty", "base_url": url, "style": "transcript"}
        | {"limits": limits, **more}
    )
    stages = {
        "chains": (
            Chain,
            Chains(FAR, None, constitution, CritiqueRevisionConfig(rounds=1, few_shots=0), 0),
        ),
        "labels": (
            Comparison,
            AILabels(
                (FAR,),
                PairsConfig(),
                FAR,
                constitution,
                FeedbackConfig(orders="both", few_shots=0),
                0,
            ),
        ),
    }
    with RunFolder.open(out, {"name": "faulty", "block": block}, command="the same again") as run:
        specs = EngineSpecs({FAR: settings}, "transcript", "cpu", "float32", 8)
        engines = Engines(specs, run.usage, run.answers)
        for name, (record_type, makes) in stages.items():
            run.stage_records(
                name,
                inputs={"engine": "the same server at another port"},
                record_type=record_type,  # type: ignore[type-var]
                items=prompts(count),
                block_size=block,
                make=partial(Here().make, makes, engines),  # type: ignore[arg-type]
                progress=progress or QuietProgress(),
            )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--max-failures", type=int, default=0)
    asked = parser.parse_args(arguments)
    limits = {"max_concurrency": asked.concurrency, "timeout": asked.timeout}
    limits["max_failures"] = asked.max_failures
    work(asked.out, asked.url, asked.prompts, block=asked.block, limits=limits, progress=Progress())


if __name__ == "__main__":
    main()
