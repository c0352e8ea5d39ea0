"""A run on a real Ray cluster of two nodes: the bytes of a local run, whatever is lost on the way.

A node has one CPU, and an actor takes one, so two actors are on two nodes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import stages
import torch
from stages import make, recipe, records

import constitutional
from constitutional.dialogue import Conversation
from constitutional.errors import EngineError, InputError
from constitutional.execution.ray_data import OnRay
from constitutional.jobs import Finetuning
from constitutional.jobs.running import run_job
from constitutional.microworld import data_file
from constitutional.recipe import RayCluster
from constitutional.runs import QuietProgress
from constitutional.supervised.settings import FinetuneConfig

pytestmark = pytest.mark.slow
SECONDS = 120.0
ROOM = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


class TwoNodes:
    """A head with a CPU, and a second node that may be taken away and put back."""

    def __init__(self) -> None:
        import ray
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args=ROOM)
        self.address: str = self._cluster.address
        self._second: Any = None
        # while there is one node: the driver belongs to a node, and is lost with it
        ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        self.put_back()

    def put_back(self) -> None:
        if self._second is None:
            self._second = self._cluster.add_node(
                **{k: v for k, v in ROOM.items() if k != "include_dashboard"}
            )

    def take_away(self) -> None:
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None

    def close(self) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    torch.set_num_threads(1)
    nodes = TwoNodes()
    yield nodes
    nodes.close()


@pytest.fixture
def nodes(cluster: TwoNodes) -> TwoNodes:
    """The cluster, with both nodes."""
    cluster.put_back()
    return cluster


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("local") / "run"
    make(out, recipe(), labels=True)
    return records(out)


def chains(found: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in found.items() if "critique_revision" in path}


def on_ray(**ray: Any) -> Any:
    return recipe(execution="ray", ray=ray)


def wait_for(what: Callable[[], bool]) -> None:
    give_up = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < give_up, "it did not come to that"
        time.sleep(0.02)


def start(out: Path, **ray: Any) -> subprocess.Popen[str]:
    """Another driver, which makes the chains."""
    source = str(Path(constitutional.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, stages.__file__, str(out), json.dumps(ray)],
        env={**os.environ, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("actors", [1, 2])
def test_the_records_are_those_of_a_local_run(
    nodes: TwoNodes, local: dict[str, bytes], tmp_path: Path, actors: int
) -> None:
    out = tmp_path / "run"
    both = actors == 2  # a stage of labels costs as much again
    make(out, on_ray(actors=actors), labels=both)
    assert records(out) == (local if both else chains(local))
    assert not list(out.rglob("*.parquet")), "without a storage, blocks pass through"
    if both:  # a second time nobody needs the cluster, or so much as Ray
        again = start(out, address="127.0.0.1:1")
        said, told = again.communicate(timeout=SECONDS)
        assert (again.returncode, said.strip()) == (0, "False"), told
        assert records(out) == local


def test_a_node_that_is_killed_loses_nothing_and_doubles_nothing(
    nodes: TwoNodes, local: dict[str, bytes], tmp_path: Path
) -> None:
    storage = tmp_path / "storage"

    def kill() -> None:
        # one block of each node is done, or begun: the second node is at work
        wait_for(lambda: len(list(storage.rglob("tries/*/*"))) >= 3)
        nodes.take_away()

    killer = threading.Thread(target=kill)
    killer.start()
    make(tmp_path / "run", on_ray(actors=2, storage=str(storage)))
    killer.join()
    assert records(tmp_path / "run") == chains(local)
    blocks = sorted(storage.rglob("block-*.parquet"))
    assert [path.name for path in blocks] == [f"block-{n:06}.parquet" for n in range(6)]

    # what lies in the storage is made once, in whatever run: nobody needs a cluster for it
    other = start(tmp_path / "other", address="127.0.0.1:1", storage=str(storage))
    said, told = other.communicate(timeout=SECONDS)
    assert (other.returncode, said.strip()) == (0, "False"), told
    assert records(tmp_path / "other") == chains(local)
    # but for a damaged block
    blocks[3].write_bytes(b"PAR1")
    make(tmp_path / "damaged", on_ray(actors=1, storage=str(storage)))
    assert records(tmp_path / "damaged") == chains(local)


def test_a_driver_that_is_killed_goes_on_with_what_is_missing(
    nodes: TwoNodes, local: dict[str, bytes], tmp_path: Path
) -> None:
    out, storage = tmp_path / "run", tmp_path / "storage"
    driver = start(out, address=nodes.address, actors=2, storage=str(storage))
    wait_for(lambda: len(list(storage.rglob("block-*.parquet"))) >= 2)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = {path: path.stat().st_mtime_ns for path in storage.rglob("block-*.parquet")}
    assert len(before) < 6, "it was to be killed on its way"
    make(out, on_ray(actors=1, storage=str(storage)))
    assert records(out) == chains(local)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "made once"


def test_an_error_of_ours_ends_the_run_with_its_sentence(nodes: TwoNodes, tmp_path: Path) -> None:
    long = {**stages.RECIPE["supervised"], "max_new_tokens": 100_000}
    with pytest.raises(EngineError) as here:
        make(tmp_path / "here", recipe(supervised=long))
    with pytest.raises(EngineError) as there:
        make(
            tmp_path / "there",
            recipe(supervised=long, execution="ray", ray={"actors": 1}),
        )
    assert str(there.value) == str(here.value)


def test_more_than_a_machine_has_is_refused(nodes: TwoNodes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"takes 1 CPUs and 4 GPUs.*have 1 and 0"):
        make(tmp_path / "run", on_ray(gpus=4))


def test_a_training_runs_in_a_worker_of_ray_train(nodes: TwoNodes, tmp_path: Path) -> None:
    # in the test, so that it is sent as it is: the workers do not find this file
    def leave(word: str, *, work: Path, progress: QuietProgress) -> None:
        if word == "wrong":
            raise EngineError(f"this is {word}")
        grouped = torch.distributed.is_initialized() or "RANK" in os.environ
        (work / "result").write_text(f"{word} {torch.get_num_threads()} {grouped} {os.getpid()}")

    execution = OnRay(RayCluster())
    execution.train(partial(leave, "done", work=tmp_path), tmp_path, QuietProgress())
    word, threads, grouped, pid = (tmp_path / "result").read_text().split()
    assert (word, threads, grouped) == ("done", "1", "False")
    assert int(pid) != os.getpid()
    with pytest.raises(EngineError, match=r"^this is wrong$"):
        execution.train(partial(leave, "wrong", work=tmp_path), tmp_path, QuietProgress())


def test_a_training_on_two_nodes_is_that_of_one_process(nodes: TwoNodes, tmp_path: Path) -> None:
    def job(folder: str, **changes: Any) -> Finetuning:
        return Finetuning(
            title="Finetuning",
            model=str(data_file("pretrained")),
            style="transcript",
            seed=1,
            device="cpu",
            work=tmp_path / folder,
            conversations=tuple(
                Conversation.of(f"How do I wash {n} dogs?", "Use water." * (1 + n % 3))
                for n in range(8)
            ),
            config=FinetuneConfig(batch_size=4, checkpoint_steps=10, learning_rate=1e-3, **changes),
        )

    def in_a_group(job: Finetuning, *, progress: QuietProgress) -> None:
        run_job(job, progress)
        size = torch.distributed.get_world_size()
        (job.work / f"rank-{os.environ['RANK']}").write_text(f"{size} {os.getpid()}")

    run_job(job("one"), QuietProgress())
    execution, two = OnRay(RayCluster()), job("two")
    execution.train(partial(in_a_group, two), two.work, QuietProgress(), processes=2)
    sizes, pids = zip(
        *(path.read_text().split() for path in sorted(two.work.glob("rank-*"))), strict=True
    )
    assert sizes == ("2", "2") and len({*pids, str(os.getpid())}) == 3
    ones, twos = (
        json.loads((tmp_path / folder / "result" / "finetune.json").read_text())["losses"]
        for folder in ("one", "two")
    )
    assert [step for step, _ in twos] == [step for step, _ in ones]
    assert [loss for _, loss in twos] == pytest.approx([loss for _, loss in ones], abs=1e-4)
    # one of the two has nothing to write, and the error is told all the same
    with pytest.raises(InputError, match="there is nothing to train on"):
        execution.train(
            partial(run_job, job("long", max_length=8)),
            tmp_path / "long",
            QuietProgress(),
            processes=2,
        )
