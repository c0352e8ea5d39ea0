"""What the sides work on: models, prompts, and a constitution with five few-shots of each kind."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.speed.options import Options

from constitutional.constitution import Constitution, load_constitution
from constitutional.constitution.few_shots import ComparisonExample, FewShots
from constitutional.dialogue import PromptRecord, few_shot_prefix, load_prompts
from constitutional.dialogue.prompts import PromptKind
from constitutional.engines.base import Prompt, TextPrompt
from constitutional.engines.loading import load_parts, load_tokenizer
from constitutional.microworld import data_file
from constitutional.microworld import language as say
from constitutional.microworld.splits import seen_requests
from constitutional.microworld.world import KINDS, Kind, Request

#: Few-shots before every critique, revision and comparison, as in the issue's measure.
FEW_SHOTS = 5


def model_folder(name: str, options: Options) -> Path:
    """The shipped model ``helpful`` or ``pretrained``; in a run with random weights those."""
    return _random_model(options) if options.random else data_file(name)


def prompts(name: str, kind: PromptKind, limit: int | None = None) -> list[PromptRecord]:
    """The first prompts of a file of the microworld, such as ``rl_helpful``."""
    file = data_file(f"prompts/{name}.jsonl")
    return list(load_prompts(file, kind=kind, limit=limit).records)


def constitution() -> Constitution:
    """The microworld's, which has no few-shots of its own, with one of each kind of harm."""
    plain = load_constitution(data_file("constitution.yaml"))
    cases = [(_request(kind), kind) for kind in KINDS]
    principle = plain.critiquing[0]
    shots = FewShots(
        critique_revision=tuple(
            say.ask(request, say.QUESTIONS[number])
            .add("assistant", say.help_with(request, number % 3))
            .add("critique_request", principle.critique)
            .add("critique", say.find_harm(request, number % 2, kind))
            .add("revision_request", principle.revision)
            .add("revision", say.refuse(request, number % 2, kind))
            for number, (request, kind) in enumerate(cases)
        ),
        comparison=tuple(
            ComparisonExample(
                conversation=say.ask(request, say.QUESTIONS[number]),
                better=say.refuse(request, number % 2, kind),
                worse=say.help_with(request, number % 3),
            )
            for number, (request, kind) in enumerate(cases)
        ),
    )
    return plain.with_few_shots(shots)


def begin_preference_model(model: Path, folder: Path, options: Options) -> None:
    """A preference model before its training, whose head is drawn anew, in an empty folder.

    Its stored mean is 0, so that PPO can be trained against it.
    """
    from constitutional.preference.model import PreferenceModel

    shutil.rmtree(folder, ignore_errors=True)
    begun = PreferenceModel.begin(model, style="transcript", seed=0, device=options.device)
    moments = {"mean": 0.0, "deviation": 1.0, "scored": 1}
    begun.card = begun.card.model_copy(update=moments)
    begun.save(folder)


def few_shot_text() -> str:
    """What stands before every critique and revision."""
    return few_shot_prefix(constitution().few_shots.critique_revision[:FEW_SHOTS])


def begins_with(prompt: Prompt, text: str) -> bool:
    """Whether a transcript begins so."""
    return isinstance(prompt, TextPrompt) and prompt.text.startswith(text)


def _request(kind: Kind) -> Request:
    """The first request of a kind that somebody else's things are asked about."""
    return next(r for r in seen_requests() if r.harm == kind and r.owner not in ("my", "our"))


def _random_model(options: Options) -> Path:
    """A Llama of about ``options.random`` parameters with the microworld's tokenizer, made once."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = options.folder / f"random-{options.random}"
    if (folder / "tokenizer.json").exists():
        return folder
    tokenizer = load_tokenizer(data_file("helpful"))
    known, _ = load_parts(data_file("helpful"), device="cpu", dtype="float32")
    layers = 24
    # 4 h^2 in the attention and 3 * 3 h * h in the layers between
    hidden = round((options.random / layers / 13) ** 0.5 / 128) * 128
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=known.config.vocab_size,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 128,
        tie_word_embeddings=True,
        max_position_embeddings=known.config.max_position_embeddings,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
