"""The `transformers` engine: any local or hub causal language model, on a CPU or a GPU.

Sampling is from the model's whole distribution: no top-k, no top-p, and none of the defaults in a
model's ``generation_config.json`` but its end tokens. Each request's draws come from its own seed;
batch composition can only change a text through float rounding (rarely in float32, more often in
bfloat16).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from constitutional.dialogue.tokens import prompts_ids
from constitutional.engines.asking import (
    check_fits,
    check_request,
    choices_ids,
    chosen_style,
    encode,
    ends_of_answers,
    spoken,
)
from constitutional.engines.base import (
    Capabilities,
    Completion,
    Heard,
    Prompt,
    Quantize,
    SamplingParams,
    Style,
)
from constitutional.engines.choices import choice_scores
from constitutional.engines.decoding import Ending, decode
from constitutional.engines.loading import digest, eos_ids, load_parts, position_limit
from constitutional.engines.padded import LeftPaddedRows
from constitutional.engines.ragged import RaggedRows
from constitutional.engines.rows import CausalModel, Ids, OpenRows
from constitutional.engines.sampler import uniforms
from constitutional.engines.sharing import Group, groups
from constitutional.engines.shelf import Shelf
from constitutional.errors import EngineError
from constitutional.packing import supports_packing

#: Part of every fingerprint; raise it when the same weights and seeds would give other texts.
ENGINE_VERSION = "2"

Result = TypeVar("Result")
#: Answers requests (their numbers, and their ids behind the root) with rows to read them in.
Work = Callable[[Sequence[int], Sequence[Ids], OpenRows], list[Result]]


class LocalEngine:
    """A `transformers` model in this process. See :class:`~.base.Engine` for the methods.

    ``model`` and ``tokenizer`` are those of `transformers`; the model stays where it is. ``name``
    is for the record. ``batch_size`` is how many requests are computed at once; where memory runs
    out it is halved for good, and a line on standard error says so. The fingerprint is taken once,
    at its first use: build a new engine for a model that was trained on.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        style: Literal["auto", "transcript", "chat"] = "auto",
        batch_size: int = 64,
    ):
        if batch_size < 1:
            raise EngineError(f"batch_size must be at least 1, found {batch_size}")
        self.batch_size = batch_size
        self._name = name
        self._style = chosen_style(style, tokenizer, name)
        self._tokenizer = tokenizer
        self._model: Any = model
        self._forward: CausalModel | None = CausalModel(model)
        self._eos_ids = ends_of_answers(eos_ids(model, tokenizer), tokenizer, self._style)
        self._limit = position_limit(model.config)
        self._shelf = Shelf()

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        style: Literal["auto", "transcript", "chat"] = "auto",
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 64,
        quantize: Quantize | None = None,
    ) -> LocalEngine:
        """An engine for a model folder, a folder of adapters, or a name on the hub.

        ``style`` auto is chat where the tokenizer has a chat template, else transcript. ``device``
        auto takes a GPU where there is one. ``dtype`` auto is float32 on a CPU and bfloat16 on a
        GPU; else float32, bfloat16 or float16. ``quantize`` holds the layers in 4 bits. Raises
        ModelError, and MissingExtraError.
        """
        network, tokenizer = load_parts(model, device=device, dtype=dtype, quantize=quantize)
        # Of a folder only its own name is recorded: the path says nothing on another machine.
        name = Path(model).resolve().name if Path(model).is_dir() else str(model)
        return cls(network, tokenizer, name=name, style=style, batch_size=batch_size)

    @property
    def name(self) -> str:
        """``transformers:`` and the folder's or the hub name."""
        return f"transformers:{self._name}"

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 over weights, configuration, tokenizer, number format and engine version."""
        self._open()
        extra = (ENGINE_VERSION, self._style, str(self._model.dtype), str(self._eos_ids))
        return digest(self._model, self._tokenizer, extra)

    @property
    def style(self) -> Style:
        """The prompt form that this model reads."""
        return self._style

    @property
    def capabilities(self) -> Capabilities:
        """Log-probabilities and seeds, both."""
        return Capabilities(logprobs=True, seeds=True)

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """One completion for each prompt, in order; ``seeds[i]`` alone decides the i-th draw.

        A text keeps the blank that it begins with; one of a chat is without its thoughts, unless
        log-probabilities are asked for, for then a text is that of its tokens. Raises EngineError
        for settings that make no sense, a prompt that is empty or too long, and logits that are no
        distribution.
        """
        return self._sample(prompts, params, seeds, None)

    def sample_aloud(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        seeds: Sequence[int],
        heard: Heard,
    ) -> list[Completion]:
        """The same as :meth:`sample`, and each text so far after each of its tokens."""
        return self._sample(prompts, params, seeds, heard)

    def _sample(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        seeds: Sequence[int],
        heard: Heard | None,
    ) -> list[Completion]:
        forward = self._open()
        check_request(prompts, params, seeds)
        room = params.max_new_tokens
        ids = encode(self._tokenizer, prompts, room=room, limit=self._limit, who=self.name)
        ending = Ending(self._tokenizer, self._eos_ids, params.stop)

        def work(numbers: Sequence[int], texts: Sequence[Ids], rows: OpenRows) -> list[Completion]:
            draws = uniforms([seeds[number] for number in numbers], params.max_new_tokens)
            draws = draws.to(forward.device)
            listener = None if heard is None else _texts(heard, prompts, numbers, ending)
            sampled = decode(rows, texts, draws, params, ending, self.batch_size, listener)
            return [ending.completion(row.tokens, row.logprobs) for row in sampled]

        with _evaluating(self._model):
            completions = self._in_groups(ids, room, work)
        if params.logprobs:
            return completions
        return [spoken(*each) for each in zip(prompts, completions, strict=True)]

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """For each prompt the log-probability of each choice as what comes next.

        A choice is tokenised as in training, where it stands after the prompt; one of several
        tokens counts the sum over them. Raises EngineError for choices that are empty or the same
        tokens, and for a prompt that is empty or too long.
        """
        self._open()
        ids = prompts_ids(self._tokenizer, prompts)
        continuations = choices_ids(self._tokenizer, prompts, ids, choices)
        longest = max((len(ids) for row in continuations for ids in row), default=0)
        check_fits(ids, room=longest, limit=self._limit, who=self.name)

        def work(
            numbers: Sequence[int], texts: Sequence[Ids], rows: OpenRows
        ) -> list[tuple[float, ...]]:
            return choice_scores(rows, texts, [continuations[number] for number in numbers])

        with _evaluating(self._model):
            return self._in_groups(ids, longest, work, in_batches=True)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Within, prompts that go on from those of the request before are read from there on.

        It saves time and changes no answer but by float rounding. The weights must stay as they
        are meanwhile.
        """
        if self._shelf.is_open:
            yield
            return
        self._shelf.open()
        try:
            yield
        finally:
            self._shelf.close()

    def close(self) -> None:
        """Let go of the model; the engine answers no more."""
        self._model = self._forward = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _open(self) -> CausalModel:
        if self._forward is None:
            raise EngineError(f"{self.name} is closed")
        return self._forward

    def _in_groups(
        self, ids: Sequence[Ids], room: int, work: Work[Result], *, in_batches: bool = False
    ) -> list[Result]:
        """``work`` on the requests, those that begin alike together; results in request order.

        ``in_batches`` where the work does not see to it itself that only so many rows are computed
        at once.
        """
        results: dict[int, Result] = {}
        for root, numbers in self._groups(ids, by_length=not in_batches):
            while numbers:
                part = numbers[: self.batch_size] if in_batches else numbers
                try:
                    found = self._worked(ids, part, root, room, work)
                except (RuntimeError, MemoryError) as error:  # OutOfMemoryError is a RuntimeError
                    if not _is_out_of_memory(error):
                        raise
                    self._make_room(min(len(part), self.batch_size), error)
                else:
                    results.update(zip(part, found, strict=True))
                    numbers = numbers[len(part) :]
        self._shelf.turn()
        return [results[number] for number in range(len(ids))]

    def _groups(
        self, ids: Sequence[Ids], *, by_length: bool
    ) -> Iterator[tuple[int, Sequence[int]]]:
        """The requests that share a root, and its length; like lengths or like texts together."""
        found = groups(ids) if self._packs else [Group(0, tuple(range(len(ids))))]
        for group in found:
            root = self._shelf.known_root(ids[group.prompts[0]][: group.root]) if group.root else 0
            # Longest first, so that memory runs out early or not at all; equal prompts together.
            order = sorted(group.prompts, key=lambda number: (-len(ids[number]), ids[number]))
            yield root, order if by_length or not self._packs else group.prompts

    def _worked(
        self,
        ids: Sequence[Ids],
        part: Sequence[int],
        root: int,
        room: int,
        work: Work[Result],
    ) -> list[Result]:
        forward, texts = self._open(), [ids[number][root:] for number in part]
        rows: OpenRows = LeftPaddedRows(forward, room)
        if self._packs:
            count, longest = min(len(part), self.batch_size), max(map(len, texts))
            shared = ids[part[0]][:root]
            rows = RaggedRows(forward, shared, count, longest + room, self._shelf)
        return work(part, texts, rows)

    @cached_property
    def _packs(self) -> bool:
        try:
            return supports_packing(self._model)
        except (RuntimeError, MemoryError) as error:
            if _is_out_of_memory(error):
                self._halve(1, error)
            raise

    def _make_room(self, rows: int, error: Exception) -> None:
        if self._shelf.clear():
            return  # what is remembered is only there to save time
        self._halve(rows, error)

    def _halve(self, rows: int, error: Exception) -> None:
        if rows == 1:
            raise EngineError(
                f"{self.name} runs out of memory on a single request: use a smaller model, "
                "shorter prompts or fewer new tokens"
            ) from error
        self.batch_size = rows // 2
        torch.cuda.empty_cache()
        print(
            f"Note: {self.name} ran out of memory on {rows} requests at once: from here on it "
            f"takes {self.batch_size}.",
            file=sys.stderr,
        )


def _texts(
    heard: Heard, prompts: Sequence[Prompt], numbers: Sequence[int], ending: Ending
) -> Callable[[int, Sequence[int]], None]:
    """Tells ``heard`` the texts of tokens, by the numbers of the requests that rows belong to."""

    def tell(row: int, tokens: Sequence[int]) -> None:
        number = numbers[row]
        heard(number, spoken(prompts[number], ending.completion(tokens, ())).text)

    return tell


def _is_out_of_memory(error: Exception) -> bool:
    """On a GPU torch says so by the class, on a CPU by the words of its allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error)
    return "DefaultCPUAllocator" in said and "memory" in said


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Without dropout, also for a model that is being trained; its mode comes back afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
