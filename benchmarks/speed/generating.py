"""The peer's engine: ``transformers``' ``generate`` and plain forward passes behind our seam.

Published recipes of constitutional AI ask ``generate`` turn by turn. With it in the place of our
engine the peer works through the same stages, so that the same transcripts are sampled, cut at the
same stop strings, and judged alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from constitutional.dialogue import prompt_ids
from constitutional.engines.base import (
    Capabilities,
    Completion,
    Prompt,
    SamplingParams,
    Style,
    TextPrompt,
)
from constitutional.engines.decoding import Ending
from constitutional.engines.loading import eos_ids, load_parts


class GenerateEngine:
    """An engine (see :class:`constitutional.engines.base.Engine`) that calls ``model.generate``.

    ``batch_size`` requests at a time, the longest first so that little is padded.
    """

    style: Style = "transcript"
    capabilities = Capabilities(logprobs=True, seeds=False)

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int):
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.name = self.fingerprint = "generate"
        self._eos_ids = eos_ids(model, tokenizer)

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str, dtype: str, batch_size: int
    ) -> GenerateEngine:
        """From a model folder."""
        return cls(*load_parts(folder, device=device, dtype=dtype), batch_size=batch_size)

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """One completion for each prompt, in order; the seeds are not used."""
        ids = [prompt_ids(self.tokenizer, prompt) for prompt in prompts]
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        found: dict[int, Completion] = {}
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            found.update(zip(rows, self._generate([ids[row] for row in rows], params), strict=True))
        return [found[row] for row in range(len(ids))]

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """As a plain script asks: one padded forward pass for each batch of prompts."""
        texts = [prompt.text for prompt in prompts if isinstance(prompt, TextPrompt)]
        letters = [self.tokenizer(c, add_special_tokens=False).input_ids for c in choices]
        assert len(texts) == len(prompts) and all(len(letter) == 1 for letter in letters)
        found: list[tuple[float, ...]] = []
        for start in range(0, len(texts), self.batch_size):
            ids, mask = self._padded(
                [
                    self.tokenizer(text, add_special_tokens=False).input_ids
                    for text in texts[start : start + self.batch_size]
                ]
            )
            with torch.inference_mode():
                logits = self.model(ids, attention_mask=mask, logits_to_keep=1).logits[:, -1]
            scores = torch.log_softmax(logits.float(), dim=-1)
            found += [tuple(row) for row in scores[:, [letter[0] for letter in letters]].tolist()]
        return found

    def close(self) -> None:
        """Nothing is held."""

    def _generate(self, prompts: list[list[int]], params: SamplingParams) -> list[Completion]:
        ids, mask = self._padded(prompts)
        ending = Ending(self.tokenizer, self._eos_ids, params.stop)
        stops = AtStopStrings(ending, ids.shape[1], len(prompts)) if params.stop else None
        with torch.inference_mode():
            out = self.model.generate(
                ids,
                attention_mask=mask,
                do_sample=True,
                temperature=params.temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=params.max_new_tokens,
                eos_token_id=self._eos_ids or None,
                pad_token_id=self.tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList([stops] if stops else []),
            )
        return [self._completion(row, ending) for row in out[:, ids.shape[1] :].tolist()]

    def _completion(self, tokens: list[int], ending: Ending) -> Completion:
        """The text up to its end, whatever a batch made ``generate`` add behind it."""
        for count in range(1, len(tokens) + 1):
            if ending.reached(tokens[:count]):
                return ending.completion(tokens[:count], ())
        return ending.completion(tokens, ())

    def _padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, (rows, longest), padded on the left."""
        width, pad = max(map(len, rows)), self.tokenizer.pad_token_id
        ids = [[pad] * (width - len(row)) + row for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        place = self.model.device
        return torch.tensor(ids, device=place), torch.tensor(mask, device=place)


class AtStopStrings(StoppingCriteria):  # type: ignore[misc]  # transformers is not typed
    """Says which rows have reached a stop string, by our rule, and need not go on."""

    def __init__(self, ending: Ending, width: int, rows: int):
        self._ending, self._width = ending, width
        self._done = [False] * rows

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """True for rows that have ended, (rows,)."""
        for row, tokens in enumerate(input_ids[:, self._width :].tolist()):
            self._done[row] = self._done[row] or self._ending.reached(tokens)
        return torch.tensor(self._done, device=input_ids.device)
