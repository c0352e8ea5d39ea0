"""The decode loop: prompts and uniforms in, sampled tokens out, finished rows leave the batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from constitutional.engines.base import Completion, SamplingParams
from constitutional.engines.rows import Ids, OpenRows
from constitutional.engines.sampler import NO_TOKEN, next_tokens
from constitutional.errors import EngineError

#: OpenRows that have ended leave when no more than this share of the batch is still going.
LEAVE_AT = 7 / 8
#: Prompts that wait are read when this share of the rows is free: a forward pass is not for few.
ENTER_AT = 1 / 4


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

    def may_end(self, token: int) -> bool:
        """Whether a text could end with this token. Few do, and to decode a text is slow."""
        return token in self._eos_ids or self._completes_stop(token)

    def reached(self, tokens: Sequence[int]) -> bool:
        """Whether the newest of ``tokens`` ends the text."""
        return tokens[-1] in self._eos_ids or self._first_stop(self._text(tokens)) is not None

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
    rows: OpenRows,
    prompts: Sequence[Ids],
    draws: Tensor,
    params: SamplingParams,
    ending: Ending,
    at_once: int,
    heard: Callable[[int, Sequence[int]], None] | None = None,
) -> list[Sampled]:
    """Sample for each prompt until it ends; the tokens of the end and of stop strings are included.

    ``draws`` is float64 (prompts, max_new_tokens), see :func:`~.sampler.uniforms`. At most
    ``at_once`` rows are under way; as rows end, those that wait take their places. ``heard`` gets
    the number of a prompt and its tokens so far, after each. Raises EngineError when the model's
    logits are no distribution.
    """
    writing = _Writing(prompts, draws, params)
    waiting = deque(range(len(prompts)))
    logits: Tensor | None = None
    while waiting or writing.batch:
        free = at_once - len(writing.batch)
        enter = not writing.batch or (rows.grows and free >= at_once * ENTER_AT)
        if waiting and enter:
            new = [waiting.popleft() for _ in range(min(free, len(waiting)))]
            read = rows.read([prompts[number] for number in new])
            logits = read if logits is None else torch.cat([logits, read])
            writing.enter(new)
        assert logits is not None
        tokens = writing.draw(logits)
        going = writing.going(ending)
        if heard is not None:
            for number in writing.batch:
                heard(number, writing.tokens_of(number))
        if not going:
            rows.keep([])
            writing.keep([])
            logits = None
            continue
        if len(going) <= LEAVE_AT * len(writing.batch):
            order = rows.keep(going)
            writing.keep(order)
            tokens = tokens[torch.tensor(order, device=tokens.device)]
        logits = rows.advance(tokens)
    return writing.sampled()


class _Writing:
    """What has been sampled so far, and which prompts the rows of the batch belong to."""

    def __init__(self, prompts: Sequence[Ids], draws: Tensor, params: SamplingParams):
        self._draws, self._params = draws, params
        # a column more, for rows that are full and still in the batch
        shape = (len(prompts), params.max_new_tokens + 1)
        self._tokens = torch.zeros(shape, dtype=torch.long, device=draws.device)
        self._logprobs = torch.zeros(shape, device=draws.device) if params.logprobs else None
        self._lengths = [0] * len(prompts)
        self._ended: set[int] = set()
        self.batch: list[int] = []

    def enter(self, prompts: Sequence[int]) -> None:
        """Prompts take the next rows."""
        self.batch += prompts
        self._at = torch.tensor(self.batch, device=self._draws.device)

    def keep(self, order: Sequence[int]) -> None:
        """The rows that stay, in their order."""
        self.batch = [self.batch[row] for row in order]
        self._at = torch.tensor(self.batch, dtype=torch.long, device=self._draws.device)

    def draw(self, logits: Tensor) -> Tensor:
        """The next token of each row, int64 (rows,)."""
        steps = torch.tensor([self._lengths[p] for p in self.batch], device=self._at.device)
        draws = self._draws[self._at, steps.clamp(max=self._draws.shape[1] - 1)]
        tokens = next_tokens(logits, self._params.temperature, draws)
        self._tokens[self._at, steps] = tokens
        if self._logprobs is not None:
            # greedy: of the undivided distribution
            scaled = logits.float() / (self._params.temperature or 1.0)
            chosen = torch.log_softmax(scaled, dim=-1).gather(-1, tokens.clamp(min=0)[:, None])
            self._logprobs[self._at, steps] = chosen[:, 0]
        self._newest = tokens.tolist()
        # a row that has ended may go on to give no token; nobody reads it
        return tokens.clamp(min=0)

    def going(self, ending: Ending) -> list[int]:
        """The rows that go on."""
        going = []
        for row, (prompt, token) in enumerate(zip(self.batch, self._newest, strict=True)):
            if prompt in self._ended:
                continue
            if token == NO_TOKEN:
                raise EngineError(
                    "the model's logits are not finite (NaN or infinity): its weights are broken, "
                    "or the number format is too narrow; try dtype float32"
                )
            self._lengths[prompt] += 1
            if self._lengths[prompt] == self._params.max_new_tokens or (
                ending.may_end(token) and ending.reached(self.tokens_of(prompt))
            ):
                self._ended.add(prompt)
            else:
                going.append(row)
        return going

    def sampled(self) -> list[Sampled]:
        """For each prompt, in order."""
        tokens = self._tokens.tolist()
        logprobs = None if self._logprobs is None else self._logprobs.tolist()
        return [
            Sampled(tokens[n][:length], [] if logprobs is None else logprobs[n][:length])
            for n, length in enumerate(self._lengths)
        ]

    def tokens_of(self, prompt: int) -> list[int]:
        """What was sampled for a prompt so far."""
        found: list[int] = self._tokens[prompt, : self._lengths[prompt]].tolist()
        return found
