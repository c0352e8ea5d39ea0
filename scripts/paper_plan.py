"""The run of Bai et al. 2022 (arXiv 2212.08073) through the functions of ``cai plan``.

    .venv/bin/python scripts/paper_plan.py              # on 512 x H100, as Markdown
    .venv/bin/python scripts/paper_plan.py --gpu A100:1024

The numbers of prompts, rounds, responses, comparisons and the batch size of the finetuning are the
paper's (sections 3.2 and 4.2); answers of 128 tokens and four passes over each batch are those of
its RL (2204.05862, appendix B.1). Ours are: how long prompts and texts are, the batches, one pass
over 1,283,569 RL prompts (the paper does not say how many steps it took), the shape of the 52B, and
that human comparisons are there to read.
"""

from __future__ import annotations

import argparse

from constitutional.planning.amounts import amount, between
from constitutional.planning.building import Shapes
from constitutional.planning.hardware import parse_gpus
from constitutional.planning.plan import Plan, Target, make_plan
from constitutional.planning.shape import shape_of
from constitutional.planning.sizes import Lengths, Sizes
from constitutional.recipe import Recipe
from constitutional.report.plan import lasting, shown, summary_lines

RED_TEAM, HELPFUL, RL_PROMPTS = 182_831, 135_296, 1_283_569
ROUNDS, RESPONSES = 4, 2
#: Tokens: of a conversation before it is answered, of an answer, critique or revision (the official
#: samples have 47 to 78 words), and of few-shot examples with a request.
PROMPT, TEXT, FRAMED = between(40, 120, 400), between(60, 85, 120), between(1500, 2500, 3500)
ANSWERS_AT_ONCE = 512


def main() -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", default="H100:512")
    plan = paper_plan(parser.parse_args().gpu)
    print(
        "| stage | requests | tokens read | new tokens | trained on | FLOP | memory, bytes | time |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for s in plan.stages:
        counts = (s.requests, s.prompt_tokens, s.new_tokens, s.trained_tokens, s.flops)
        cells = [shown(each) if each.high else "" for each in counts]
        print("|", " | ".join([s.name, *cells, shown(s.memory.peak), lasting(s.seconds)]), "|")
    print()
    for line in summary_lines(plan):
        print(line + "  ")


def paper_plan(gpu: str) -> Plan:
    """The paper's run on ``gpu``."""
    shape = shape_of("52B")
    return make_plan(
        recipe(),
        sizes(),
        Shapes(pretrained=shape, helpful=shape),
        Target(gpus=parse_gpus(gpu)),
        notes=["the paper's counts; lengths, batches and the shape are ours"],
    )


def recipe() -> Recipe:
    """The paper's settings; the files have no one to read them."""
    prompts = {"file": "the paper's"}
    steps = -(-RL_PROMPTS // ANSWERS_AT_ONCE)
    return Recipe.model_validate(
        {
            "name": "bai-2022",
            "constitution": "default",
            "models": {"pretrained": "52B", "helpful": "52B", "batch_size": 64},
            "prompts": {"red_team": prompts, "helpful": prompts},
            "supervised": {"rounds": ROUNDS, "helpful_responses": RESPONSES},
            "finetune": {"batch_size": 2, "max_length": 1024},
            "rl": {
                "comparisons": prompts,
                "helpfulness": {"file": "the paper's"},
                "preference": {"batch_size": 1, "max_length": 1024},
                "red_team": prompts,
                "helpful": prompts,
                "ppo": {
                    "steps": steps,
                    "batch_size": ANSWERS_AT_ONCE,
                    "minibatch_size": 4,
                    "epochs": 4,
                    "max_new_tokens": 128,
                },
            },
        }
    )


def sizes() -> Sizes:
    """The paper's counts with our lengths."""
    red_team = Lengths.about(RED_TEAM, PROMPT, amount(700))
    framed = red_team.longer(FRAMED, FRAMED.high)
    return Sizes(
        prompts={
            "prompts.red_team": red_team,
            "prompts.helpful": Lengths.about(HELPFUL, PROMPT, amount(700)),
            "rl.comparisons": red_team,
            "rl.training": Lengths.about(RL_PROMPTS, PROMPT, amount(700)),
        },
        asked={
            "critique": framed.times(ROUNDS),
            "revision": framed.times(ROUNDS),
            "question": framed,
        },
        texts={"rl.helpfulness": Lengths.about(2 * HELPFUL, PROMPT + TEXT, amount(900))},
        new=dict.fromkeys(("response", "critique", "revision", "reply", "policy"), TEXT),
    )


if __name__ == "__main__":
    main()
