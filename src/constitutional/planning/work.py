"""What a stage computes, apart from how long it takes: the nouns that all estimates are made of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from constitutional.engines.base import Quantize
from constitutional.planning.amounts import Amount, amount, total
from constitutional.planning.shape import ModelShape
from constitutional.training_settings import LoraSettings

#: Number formats by what a number takes, in bytes.
Format = Literal["float32", "bfloat16", "float16"]
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


#: A model that a stage brings to memory: what it is called, its shape, its number format.
Loaded = tuple[str, ModelShape, Format]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Work(_Record):
    """Many sequences through one model in the same way.

    ``sample`` reads ``prompt`` tokens and writes ``new`` ones; ``read`` is a forward pass over
    ``prompt`` tokens; ``train`` is forward, backward and update over them, every epoch counted.
    Tokens are of all ``sequences`` together, padding left out.
    """

    what: str
    kind: Literal["sample", "read", "train"]
    model: ModelShape
    sequences: Amount
    prompt: Amount
    new: Amount = Field(default_factory=lambda: amount(0))
    #: Tokens of the longest sequence, new ones included, and sequences that are computed at once.
    longest: Amount
    batch: int = Field(ge=1)
    #: New tokens that the cache has room for.
    room: int = 0
    format: Format = "float32"
    #: Of a training: its adapters, whether it takes logits of every token, and the key that holds
    #: its batch size; steps whose gradients are added up.
    lora: LoraSettings | None = None
    language_model: bool = True
    accumulate: int = 1
    #: Tokens at the end of each sequence whose logits are taken where that is not all of them.
    scored_tail: Amount | None = None
    #: A second network of the same shape trained beside it, without logits: PPO's critic.
    critic: bool = False
    #: Of PPO with adapters: on how many bases its networks stand, and how many sets of adapters are
    #: on them, of which policy and critic train one each.
    bases: int = 1
    adapters: int = 1
    #: Whether a GPU computes it in bfloat16 from float32 weights, as transformers' Trainer does.
    autocast: bool = False
    #: Whether layers are computed again in the backward pass, which keeps what enters each alone.
    recomputes: bool = False
    #: The section of the recipe whose keys decide this work's memory.
    section: str = "models"

    @property
    def apart(self) -> bool:
        """Whether PPO's policy and critic share no weights."""
        return self.lora is None or self.bases == 2

    @property
    def mean_length(self) -> float:
        """Tokens of a sequence, new ones included."""
        number = self.sequences.value
        return (self.prompt.value + self.new.value) / number if number else 0.0


class Saved(_Record):
    """What a stage leaves on the disk, in bytes: ``kept`` at its end, ``passing`` in between."""

    kept: Amount = Field(default_factory=lambda: amount(0))
    passing: Amount = Field(default_factory=lambda: amount(0))


class Stage(_Record):
    """One stage as the run's folder names it.

    ``loads`` are the models that it brings to memory and leaves there, with their number format
    and what they are called; a model that is there already is not loaded again. ``beside`` are in
    memory during this stage alone: the reference and the preference models of RL.
    """

    name: str
    works: tuple[Work, ...]
    loads: tuple[Loaded, ...] = ()
    beside: tuple[tuple[ModelShape, Format], ...] = ()
    saved: Saved = Saved()
    #: In how few bits the models of ``loads`` are held.
    quantize: Quantize | None = None

    @property
    def releases(self) -> bool:
        """Whether the stage begins by letting go of the models that others have loaded."""
        trains = any(work.kind == "train" for work in self.works)
        return trains or self.name.startswith("answers_")

    @property
    def requests(self) -> Amount:
        """Texts that are asked for and questions that are weighed."""
        return total(w.sequences for w in self.works if w.kind != "train")

    @property
    def prompt_tokens(self) -> Amount:
        """Tokens that are read, to sample after them or to score them."""
        return total(w.prompt for w in self.works if w.kind != "train")

    @property
    def new_tokens(self) -> Amount:
        """Tokens that are sampled."""
        return total(w.new for w in self.works)

    @property
    def trained_tokens(self) -> Amount:
        """Tokens that are trained on, every epoch counted."""
        return total(w.prompt for w in self.works if w.kind == "train")
