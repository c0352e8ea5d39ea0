"""Models are in memory while they are needed: trainings and policies do not wait beside others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constitutional.engines.local import LocalEngine
from constitutional.training import SeededTrainer


def test_no_engine_holds_a_model_while_another_is_trained(
    cai: Callable[..., tuple[int, str, str]],
    small_recipe: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engines: list[LocalEngine] = []
    held: dict[str, list[int]] = {"training": [], "sampling": []}

    def note(what: str) -> None:
        held[what].append(sum(engine._model is not None for engine in engines))

    begin, train, sample = LocalEngine.__init__, SeededTrainer.train, LocalEngine.sample

    def begun(self: LocalEngine, *args: Any, **settings: Any) -> None:
        begin(self, *args, **settings)
        engines.append(self)

    def trained(self: SeededTrainer, *args: Any, **settings: Any) -> Any:
        note("training")
        return train(self, *args, **settings)

    def sampled(self: LocalEngine, *args: Any) -> Any:
        note("sampling")
        return sample(self, *args)

    monkeypatch.setattr(LocalEngine, "__init__", begun)
    monkeypatch.setattr(SeededTrainer, "train", trained)
    monkeypatch.setattr(LocalEngine, "sample", sampled)
    code, _, told = cai("run", small_recipe(), "--out", tmp_path / "run")
    assert code == 0, told
    assert held["training"] == [0]
    # responses, critiques and revisions, replies; then each of three policies alone
    assert held["sampling"] and set(held["sampling"]) == {1}
