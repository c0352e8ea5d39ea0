"""What the pretrained model is finetuned on: revisions, and helpful responses.

The paper trains on "revisions from all revisional steps" (s. 3.1) and two responses to each
helpful prompt (s. 3.2); neither the first response to a red-team prompt nor any critique is a
target. A text with a flag (:mod:`constitutional.dialogue.shape`) is left out; an unchanged
revision stays in. ``finetune.revisions: last`` departs from the paper: one revision a chain; so
does ``finetune.flagged: train``, which lets texts of broken form in, as a study may want.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from constitutional.dialogue.control import broken
from constitutional.dialogue.rendering import chat_messages
from constitutional.runs.records import Chain, Reply, Sample, TrainingExample

#: Whether texts of broken form are trained on.
Flagged = Literal["leave_out", "train"]


def is_trained_on(sample: Sample, flagged: Flagged = "leave_out") -> bool:
    """Whether a text is fit for training; one that a server failed to write never is."""
    return sample.usable or (flagged == "train" and sample.ended != "failed")


def training_examples(
    chains: Iterable[Chain],
    replies: Iterable[Reply],
    *,
    revisions: Literal["all", "last"] = "all",
    flagged: Flagged = "leave_out",
) -> Iterator[TrainingExample]:
    """The examples, revisions first; order is left to the trainer's seeded shuffle.

    ``revisions``: of all rounds, or the last of each chain that is trained on; ``flagged``: whether
    texts of broken form are.
    """
    for chain in chains:
        usable = [
            (k, r)
            for k, r in enumerate(chain.rounds, start=1)
            if is_trained_on(r.revision, flagged)
        ]
        for number, round_ in usable if revisions == "all" else usable[-1:]:
            yield TrainingExample(
                id=f"{chain.id}/revision-{number}",
                source="revision",
                conversation=chain.prompt.add("assistant", round_.revision.text),
            )
    for reply in replies:
        for number, response in enumerate(reply.responses, start=1):
            if is_trained_on(response, flagged):
                yield TrainingExample(
                    id=f"{reply.id}/response-{number}",
                    source="helpful",
                    conversation=reply.prompt.add("assistant", response.text),
                )


def export_messages(examples: Iterable[TrainingExample], path: Path) -> None:
    """Write the examples in the ``messages`` form that TRL, axolotl and LLaMA-Factory read.

    Those programs make tokens of what they are given, so control tokens in it are broken up.
    """
    with path.open("w", encoding="utf-8") as file:
        for example in examples:
            messages = [
                {"role": message.role, "content": broken(message.content)}
                for message in chat_messages(example.conversation)
            ]
            row = {"id": example.id, "source": example.source, "messages": messages}
            # ASCII escapes, so that no text a model wrote can break the file
            file.write(json.dumps(row) + "\n")
