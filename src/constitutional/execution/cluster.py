"""A connection to a Ray cluster, made when there is work and not before."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

from constitutional.errors import InputError, MissingExtraError
from constitutional.recipe import RayCluster

#: Where Ray is started on this machine alone: no web page, and its own workers' output in files.
_ALONE = {"include_dashboard": False}


class Cluster:
    """The cluster of a recipe. Raises MissingExtraError without Ray."""

    def __init__(self, settings: RayCluster):
        self.settings = settings
        self._ours = False
        for package in ("ray", "pyarrow", "fsspec"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "ray", "'execution: ray'")

    def connect(self) -> None:
        """Connect, or start Ray here; nothing where this process is connected already.

        Raises InputError where no cluster answers, or none of its machines has room for an actor.
        """
        import ray

        if not ray.is_initialized():
            address = self.settings.address
            try:
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **({} if address else _ALONE),
                )
            except (ConnectionError, ValueError) as error:
                raise InputError(
                    f"no Ray cluster answers at {address or 'RAY_ADDRESS'} "
                    f"({str(error).splitlines()[0]}): start one with 'ray start --head', or leave "
                    "ray.address out to start Ray on this machine alone"
                ) from error
            self._ours = True
        self._check_room(ray.nodes())

    def close(self) -> None:
        """Leave the cluster, where this object has connected to it."""
        if self._ours:
            import ray

            ray.shutdown()
            self._ours = False

    def _check_room(self, nodes: list[dict[str, Any]]) -> None:
        wanted = {"CPU": self.settings.cpus, "GPU": self.settings.gpus}
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        if not any(all(has.get(k, 0) >= n for k, n in wanted.items()) for has in alive):
            found = "; ".join(f"{h.get('CPU', 0):g} and {h.get('GPU', 0):g}" for h in alive)
            raise InputError(
                f"an actor takes {wanted['CPU']:g} CPUs and {wanted['GPU']:g} GPUs of one machine, "
                f"and the cluster's machines have {found or 'none'}: change ray.cpus and ray.gpus"
            )
