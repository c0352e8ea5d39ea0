"""Where a run's work is done. None of it changes a record."""

from __future__ import annotations

from pydantic import Field, field_validator

from constitutional.recipe.section import Section
from constitutional.refusal import refusal


class RayCluster(Section):
    """The Ray cluster of ``execution: ray``, and how much of it a run takes."""

    #: ``auto`` for the cluster that this machine is part of, or HOST:PORT of its head; without one
    #: what RAY_ADDRESS names, else Ray is started on this machine alone.
    address: str | None = Field(default=None, min_length=1)
    #: Processes that each hold the engines and work on a block at a time.
    actors: int = Field(default=2, ge=1)
    #: What each of them, and a training, takes of a machine.
    cpus: float = Field(default=1, gt=0)
    gpus: float = Field(default=0, ge=0)
    #: A folder for finished blocks in Parquet, on any file system that fsspec knows
    #: (``s3://bucket/folder``); they are kept there. Without one they pass through the run folder.
    storage: str | None = Field(default=None, min_length=1)

    @field_validator("address")
    @classmethod
    def _no_client(cls, address: str | None) -> str | None:
        if address is not None and "://" in address:
            raise refusal(
                f"'address' must be auto or HOST:PORT of the cluster's head, found {address!r}: a "
                "run is started on a machine of the cluster, as Ray Data has no remote client"
            )
        return address
