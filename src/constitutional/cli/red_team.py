"""``cai red-team``: new prompts from a pretrained model, by few-shots of human-written ones."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from constitutional.cli.evaluate import PromptStyle


class Kind(StrEnum):
    """The two kinds of prompt."""

    RED_TEAM = "red-team"
    HELPFUL = "helpful"


def red_team(
    model: Annotated[str, typer.Option("--model", help="A model folder or a name on the hub.")],
    prompts: Annotated[
        str, typer.Option("--prompts", help="Human-written prompts of the kind, to be shown.")
    ],
    kind: Annotated[Kind, typer.Option("--kind", help="What the prompts are.")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many new prompts are wanted.")],
    out: Annotated[
        Path, typer.Option("--out", help="The run's folder; the same command goes on in it.")
    ],
    avoid: Annotated[
        list[str] | None,
        typer.Option("--avoid", help="More prompts of the kind that no new one may repeat."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    few_shots: Annotated[
        int, typer.Option("--few-shots", min=1, help="Prompts shown in each list.")
    ] = 10,
    temperature: Annotated[float, typer.Option("--temperature", min=0)] = 1.0,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 100,
    tries: Annotated[
        int, typer.Option("--tries", min=1, help="How often a prompt is tried at most.")
    ] = 10,
    heading: Annotated[
        str | None,
        typer.Option("--heading", help="Above the list; default: 'Here are harmful questions:'."),
    ] = None,
    style: Annotated[
        PromptStyle,
        typer.Option("--style", help="transcript: a plain list. chat: asked for in a human turn."),
    ] = PromptStyle.TRANSCRIPT,
    device: Annotated[str, typer.Option("--device")] = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 64,
    block: Annotated[
        int, typer.Option("--block", min=1, help="Prompts in a block, the unit of resuming.")
    ] = 128,
) -> None:
    """Let a pretrained model write new prompts, by few-shots of human-written ones."""
    from constitutional.cli.red_team_run import Order, make, settings

    chosen = settings(
        few_shots=few_shots,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        tries=tries,
        heading=heading,
    )
    order = Order(
        kind="red_team" if kind is Kind.RED_TEAM else "helpful",
        count=count,
        seed=seed,
        model=model,
        style=style.value,
        device=device,
        batch_size=batch_size,
        prompts=prompts,
        avoid=tuple(avoid or ()),
        block=block,
        settings=chosen,
    )
    make(order, out)
