"""Which policies can be asked, and their engines, which are loaded when first asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from constitutional.constitution import Constitution
from constitutional.dialogue import Conversation, check_vocabulary
from constitutional.dialogue.transcript import render
from constitutional.engines.base import Engine, SamplingParams
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.pool import Engines, EngineSpecs
from constitutional.errors import RunFolderError
from constitutional.inputs.models import ModelReader
from constitutional.reading import Run
from constitutional.recipe import Recipe
from constitutional.runs.usage import Usage
from constitutional.supervised import CritiqueRevisionConfig

#: How policies answer in a run without an evaluation that says so.
_USUAL = SamplingParams(max_new_tokens=256)


@dataclass(frozen=True)
class Policy:
    """A policy that can be asked. ``key`` is its name in addresses and forms."""

    key: str
    name: str
    model: str
    run: ChatRun

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Its engine, for one at a time; loaded at its first use. Raises ModelError."""
        with self.run.engine(self.model) as engine:
            yield engine

    def check(self, text: str) -> None:
        """Raise InputError for a word that the model does not know."""
        self.run.check(self.model, text)


@dataclass
class ChatRun:
    """What the policies of a run share: the engines and how they answer."""

    engines: Engines
    reader: ModelReader
    sampling: SamplingParams
    revising: CritiqueRevisionConfig
    constitution: Constitution | None
    #: An engine answers one request at a time.
    _turns: dict[str, threading.Lock] = field(default_factory=dict)
    _tokenizers: dict[str, Any] = field(default_factory=dict)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, run: Run) -> ChatRun:
        """The settings of the run's recipe, without loading anything. Raises RunFolderError."""
        try:
            recipe = Recipe.model_validate(run.recipe)
        except ValidationError as error:
            raise RunFolderError(
                f"{run.path} holds a recipe that this version cannot read, so its models cannot be "
                f"asked ({error.errors()[0]['msg']}): serve it with the version that made it"
            ) from error
        reader = ModelReader(recipe, run.manifest.recipe_folder)
        models = recipe.models
        specs = EngineSpecs(
            reader.engines(),
            models.style,
            models.device,
            models.dtype,
            models.batch_size,
            models.quantize,
        )
        return cls(
            engines=Engines(specs, _Spent()),
            reader=reader,
            sampling=recipe.evaluation.sampling if recipe.evaluation else _USUAL,
            revising=recipe.supervised,
            constitution=run.constitution,
        )

    @contextmanager
    def engine(self, model: str) -> Iterator[Engine]:
        """The engine of a model, for one at a time."""
        with self._loading:
            engine = self.engines[model]
            turn = self._turns.setdefault(model, threading.Lock())
        with turn:
            yield engine

    def check(self, model: str, text: str) -> None:
        """Raise InputError for a word that the model's tokenizer does not know."""
        if isinstance(self.engines.specs.named.get(model), OpenAISettings):
            return
        with self._loading:
            if model not in self._tokenizers:
                self._tokenizers[model] = self.reader.tokenizer(model)
        # as it stands in a prompt: a word may be known with the blank before it alone
        said = render(Conversation.of(text))
        check_vocabulary(self._tokenizers[model], {"your message": said})

    @property
    def can_revise(self) -> bool:
        """Whether there is a constitution with a principle to criticise by."""
        return self.constitution is not None and bool(self.constitution.critiquing)


class _Spent:
    """What servers were asked since the chat was opened."""

    def __init__(self) -> None:
        self._spent: dict[str, Usage] = {}

    def of(self, engine: str) -> Usage:
        return self._spent.get(engine, Usage())

    def add(self, engine: str, usage: Usage) -> None:
        self._spent[engine] = self.of(engine) + usage


class Policies:
    """The policies of some runs, each run given with the name in its addresses.

    A run's name stands before a policy's where there are several runs.
    """

    def __init__(self, runs: Sequence[tuple[str, Run]]):
        self._runs = runs
        self._shared: dict[str, ChatRun] = {}
        self._lock = threading.Lock()

    def known(self) -> dict[str, Policy]:
        """Those that there are by now, by their keys: a run in progress makes more of them."""
        with self._lock:
            for name, run in self._runs:
                if name not in self._shared:
                    self._shared[name] = ChatRun.of(run)
        found = [
            Policy(f"{name}:{policy}", self._label(run, policy), model, self._shared[name])
            for name, run in self._runs
            for policy, model in run.models.items()
        ]
        return {policy.key: policy for policy in found}

    def _label(self, run: Run, policy: str) -> str:
        return policy if len(self._runs) == 1 else f"{run.name}/{policy}"
