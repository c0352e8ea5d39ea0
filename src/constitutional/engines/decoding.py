"""The decode loop: prompts and uniforms in, sampled tokens out, finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from constitutional.engines.base import Completion, SamplingParams
from constitutional.engines.prefill import CausalModel, Ids, Prefilled, prefill
from constitutional.engines.sampler import NO_TOKEN, next_tokens
from constitutional.errors import EngineError

#: The batch is compacted when no more than this share of its rows is still going. Copying the cache
#: costs about as much as one step reads of it. Shares of 1/2 to 7/8 measured within 5 % of another.
COMPACT_AT = 3 / 4


class Sampled(NamedTuple):
    """What was drawn for one prompt; ``logprobs`` stays empty unless asked for."""

    tokens: list[int]
    logprobs: list[float]


class Ending:
    """Knows when a text ends: the model's end tokens and the caller's stop strings."""

    def __init__(self, tokenizer: Any, eos_ids: Iterable[int], stop: Sequence[str]):
        if "" in stop:
            raise EngineError("a stop string is empty, which would end every text at once")
        self._tokenizer = tokenizer
        self._eos_ids = frozenset(eos_ids)
        self._stop = tuple(stop)
        self._last_characters = {text[-1] for text in stop}
        self._may_complete: dict[int, bool] = {}

    def reached(self, tokens: Sequence[int]) -> bool:
        """Whether the newest of ``tokens`` ends the text."""
        newest = tokens[-1]
        if newest in self._eos_ids:
            return True
        # Decoding the text for every token is slow, and few tokens can complete a stop string.
        return self._completes_stop(newest) and self._first_stop(self._text(tokens)) is not None

    def completion(self, tokens: Sequence[int], logprobs: Sequence[float]) -> Completion:
        """The text of all sampled tokens, cut at the first stop string, and why it ended."""
        ended: Literal["eos", "stop", "length"] = "length"
        kept = tokens
        if tokens and tokens[-1] in self._eos_ids:
            ended, kept = "eos", tokens[:-1]
        text = self._text(kept)
        cut = self._first_stop(text)
        if cut is not None:
            ended, text = "stop", text[:cut]
        return Completion(text, ended, len(tokens), tuple(tokens), tuple(logprobs))

    def _completes_stop(self, token: int) -> bool:
        if not self._stop:
            return False
        if token not in self._may_complete:
            text = self._text([token])
            # "�" is part of a character; and a lone token may lose the blank it begins with.
            self._may_complete[token] = (
                "�" in text
                or " " in self._last_characters
                or any(character in text for character in self._last_characters)
            )
        return self._may_complete[token]

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _first_stop(self, text: str) -> int | None:
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        return min(found, default=None)


@torch.inference_mode()
def decode(
    model: CausalModel,
    prompts: Sequence[Ids],
    draws: Tensor,
    params: SamplingParams,
    ending: Ending,
) -> list[Sampled]:
    """Sample for each prompt until it ends; the tokens of the end and of stop strings are included.

    ``draws`` is float64 (prompts, max_new_tokens), see :func:`~.sampler.uniforms`. Raises
    EngineError when the model's logits are no distribution.
    """
    state = prefill(model, prompts, params.max_new_tokens)
    draws = draws.to(model.device)
    sampled = [Sampled([], []) for _ in prompts]
    batch = list(range(len(prompts)))  # which prompt each row of the batch belongs to
    going = set(batch)
    for step in range(params.max_new_tokens):
        tokens = next_tokens(state.logits, params.temperature, draws[:, step])
        _note(tokens.tolist(), batch, going, sampled, ending)
        if params.logprobs:
            _note_logprobs(state.logits, params.temperature, tokens, batch, sampled)
        if not going or step + 1 == params.max_new_tokens:
            break
        if len(going) <= COMPACT_AT * len(batch):
            kept = [row for row, prompt in enumerate(batch) if prompt in going]
            rows = torch.tensor(kept, device=model.device)
            state.select(rows)
            tokens, draws, batch = tokens[rows], draws[rows], [batch[row] for row in kept]
        _advance(model, state, tokens, step)
    return sampled


def _note(
    tokens: Sequence[int],
    batch: Sequence[int],
    going: set[int],
    sampled: Sequence[Sampled],
    ending: Ending,
) -> None:
    """Write down one step's tokens, and take what has ended out of ``going``."""
    for prompt, token in zip(batch, tokens, strict=True):
        if prompt not in going:
            continue
        if token == NO_TOKEN:
            raise EngineError(
                "the model's logits are not finite (NaN or infinity): its weights are broken, or "
                "the number format is too narrow; try dtype float32"
            )
        sampled[prompt].tokens.append(token)
        if ending.reached(sampled[prompt].tokens):
            going.discard(prompt)


def _note_logprobs(
    logits: Tensor,
    temperature: float,
    tokens: Tensor,
    batch: Sequence[int],
    sampled: Sequence[Sampled],
) -> None:
    """Write down the log-probabilities of the tokens that :func:`_note` has written down."""
    scaled = logits.float() / (temperature or 1.0)  # greedy: of the undivided distribution
    chosen = torch.log_softmax(scaled, dim=-1).gather(-1, tokens.clamp(min=0)[:, None])[:, 0]
    for prompt, logprob in zip(batch, chosen.tolist(), strict=True):
        if len(sampled[prompt].logprobs) < len(sampled[prompt].tokens):
            sampled[prompt].logprobs.append(logprob)


def _advance(model: CausalModel, state: Prefilled, tokens: Tensor, step: int) -> None:
    """Feed ``tokens`` (rows,), the ``step``-th after the prompts."""
    tokens = tokens.clamp(min=0)  # a row that has ended may go on to give NO_TOKEN; nobody reads it
    positions = (state.lengths + step)[:, None]
    mask = state.visible(state.width + step + 1)
    state.logits = model.logits(tokens[:, None], positions, mask, state.cache)[:, -1]
