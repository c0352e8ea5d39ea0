"""An actor without Ray: what it says of a block, and how it keeps to the driver."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError
from stages import recipe

from constitutional import errors
from constitutional.engines.http.settings import Limits, OpenAISettings, Prices
from constitutional.engines.pool import Engines, EngineSpecs
from constitutional.errors import (
    ConstitutionalError,
    EngineError,
    InputError,
    MissingExtraError,
)
from constitutional.execution.actor import MOST_TRIES, BlockMaker, Done, Job
from constitutional.execution.driver import Driver
from constitutional.execution.parquet import BlockStore
from constitutional.execution.ray_data import OnRay
from constitutional.microworld import data_file
from constitutional.recipe import RayCluster
from constitutional.runs.manifest import differences
from constitutional.runs.usage import Usage


class Word(BaseModel):
    text: str


@dataclass(frozen=True)
class Shout:
    """Upper case, and an account of what was asked; "no" is an error of ours."""

    def __call__(self, block: Sequence[Word], engines: Engines) -> list[Word]:
        engines.account.add("far", Usage(requests=len(block), usd=0.5))
        if any(word.text == "no" for word in block):
            raise InputError("no such word", path="words.txt", line=3)
        return [Word(text=word.text.upper()) for word in block]


@pytest.fixture
def job(tmp_path: Path) -> Job[Word, Word]:
    store = BlockStore(str(tmp_path))
    store.write_items([[b'{"text":"one"}\n', b'{"text":"two"}\n'], [b'{"text":"no"}\n']])
    return Job(
        stage="words",
        work=Shout(),
        engines=EngineSpecs({}, "auto", "cpu", "float32", 4),
        spent={"far": Usage(usd=2.0)},
        items=Word,
        records=Word,
        store=store,
        driver=Driver.here(),
    )


def done(maker: BlockMaker[Word, Word], number: int) -> Done:
    said = maker({"block": np.array([number])})
    found: Done = pickle.loads(said["done"][0])
    return found


def test_a_block_is_made_once(job: Job[Word, Word]) -> None:
    maker = BlockMaker(pickle.loads(pickle.dumps(job)))
    asked = {"far": Usage(requests=2, usd=0.5)}
    assert done(maker, 0) == Done(0, asked)
    assert job.store.read(0) == [b'{"text":"ONE"}\n', b'{"text":"TWO"}\n']
    assert done(maker, 0) == Done(0, {}), "Ray asks again where a machine was lost too late"


def test_an_error_comes_back_with_what_it_cost(job: Job[Word, Word]) -> None:
    said = done(BlockMaker(job), 1)
    assert said.usage == {"far": Usage(requests=1, usd=0.5)}
    assert isinstance(said.error, InputError)
    assert (str(said.error), said.error.line) == ("words.txt, line 3: no such word", 3)
    assert not job.store.has(1)


def test_a_block_that_kills_its_process_is_given_up(job: Job[Word, Word]) -> None:
    for _ in range(MOST_TRIES):  # each in a process that died
        job.store.count_try(0)
    said = done(BlockMaker(job), 0)
    assert isinstance(said.error, EngineError)
    assert "block 0 was begun 5 times" in str(said.error)
    job.store.forget_tries()
    assert done(BlockMaker(job), 0).error is None


def test_other_versions_are_refused(job: Job[Word, Word]) -> None:
    other = replace(job.driver, versions={**job.driver.versions, "torch": "1.0"})
    said = done(BlockMaker(replace(job, driver=other)), 0)
    assert "torch 1.0" in str(said.error)
    assert not job.store.has(0)


def test_threads_are_those_of_the_driver(job: Job[Word, Word]) -> None:
    before = torch.get_num_threads()
    try:
        replace(job.driver, threads=3).imitate()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_an_engine_has_to_be_that_of_the_driver(job: Job[Word, Word]) -> None:
    name = str(data_file("helpful"))
    here = Engines(job.engines, {})  # type: ignore[arg-type]
    mark = here.fingerprint(name)
    same = replace(job.engines, expected={name: mark})
    assert Engines(same, {})[name].fingerprint == mark  # type: ignore[arg-type]
    other = replace(job.engines, dtype="bfloat16", expected={name: mark})
    with pytest.raises(EngineError, match="number format"):
        Engines(other, {})[name]  # type: ignore[arg-type]
    here.release()
    assert here.fingerprints == {name: mark}


KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ConstitutionalError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_crosses_processes(kind: type[ConstitutionalError]) -> None:
    arguments: dict[Any, Any] = {MissingExtraError: ("ray", "ray", "this")}
    error = kind(*arguments.get(kind, ("it is wrong",)))
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (kind, str(error), vars(error))


def test_limits_of_all_processes_are_those_of_the_run() -> None:
    settings = OpenAISettings(
        engine="openai",
        model="m",
        base_url="http://localhost/v1",
        prices=Prices(prompt=1, completion=1),
        limits=Limits(max_concurrency=8, requests_per_minute=60, tokens_per_minute=900, max_usd=10),
    )
    part = settings.share(3, spent=4.0)
    assert part.limits == Limits(
        max_concurrency=2, requests_per_minute=20, tokens_per_minute=300, max_usd=6
    )
    assert part.fingerprint == settings.fingerprint
    assert settings.share(3, spent=12.0).limits.max_usd == 12.0, "nothing is left"
    assert Limits().share(20, 0.0).max_concurrency == 1


@pytest.mark.parametrize("package", ["ray", "pyarrow", "fsspec"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*constitutional\[ray\]"):
        OnRay(RayCluster())


def test_a_remote_client_is_refused() -> None:
    with pytest.raises(ValidationError, match="HOST:PORT"):
        RayCluster(address="ray://head:10001")


def test_where_the_work_is_done_is_free_to_change() -> None:
    here, there = recipe(), recipe(execution="ray", ray={"actors": 3, "storage": "s3://b/f"})
    changed = differences(here.model_dump(mode="json"), there.model_dump(mode="json"))
    assert {key for key, _, _ in changed} >= {"execution", "ray.actors", "ray.storage"}
    assert not differences(
        here.model_dump(mode="json"), there.model_dump(mode="json"), there.free_keys
    )


def test_trainings_of_a_cluster_keep_whole_weights(
    cai: Callable[..., tuple[int, str, str]], small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = small_recipe(execution="ray", training={"processes": 2, "config": "fsdp2"})
    code, shown, told = cai("run", recipe, "--out", tmp_path / "run")
    assert (code, shown) == (2, "")
    assert "'config' must be ddp, found 'fsdp2'" in told
    assert not (tmp_path / "run").exists()
