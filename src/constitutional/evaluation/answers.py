"""A policy's answers to the evaluation prompts, and what the judge says of each."""

from __future__ import annotations

from collections.abc import Sequence

from constitutional.dialogue import PromptRecord, prompt_for
from constitutional.engines.base import Engine, SamplingParams
from constitutional.engines.draw import draw
from constitutional.errors import EngineError
from constitutional.evaluation.verdicts import Judge
from constitutional.runs.records import Answer
from constitutional.runs.seeds import derive_seed


def answer_prompts(
    policy: str,
    engine: Engine,
    params: SamplingParams,
    judge: Judge | None,
    seed: int,
    prompts: Sequence[PromptRecord],
    *,
    system: str | None = None,
) -> list[Answer]:
    """One answer to each prompt, in order, with the judge's verdict where there is a judge.

    All policies draw with the same seeds, so that two policies that are the same model give the
    same answers. Few-shots are not used: a policy is judged as it will be used;
    ``system`` is a system prompt that it will be used with. Raises EngineError where a request for
    an answer failed for good: what is not known of some prompts would move every figure.
    """
    seeds = [derive_seed(seed, "evaluation", prompt.id) for prompt in prompts]
    samples = draw(
        engine,
        [
            prompt_for(prompt.conversation, "assistant", engine.style, system=system)
            for prompt in prompts
        ],
        params,
        seeds,
    )
    failed = [p.id for p, sample in zip(prompts, samples, strict=True) if "failed" in sample.flags]
    if failed:
        raise EngineError(
            f"{engine.name} did not answer {len(failed)} of {len(prompts)} evaluation prompts (the "
            f"first is {failed[0]!r}), and figures cannot do without: give the same command to ask "
            "these again; what was answered is kept"
        )
    return [
        Answer(
            id=prompt.id,
            policy=policy,
            prompt=prompt.conversation,
            tags=prompt.tags,
            sample=sample,
            verdict=None if judge is None else judge.judge(prompt.conversation, sample.text),
            engine=engine.name,
        )
        for prompt, sample in zip(prompts, samples, strict=True)
    ]
