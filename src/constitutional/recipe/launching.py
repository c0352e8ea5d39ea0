"""On how many processes of this machine the trainings of a recipe run."""

from __future__ import annotations

from pydantic import Field

from constitutional.recipe.section import Section


class Training(Section):
    """Each training is started on so many processes by Accelerate; left out, in this process.

    It changes results by float rounding alone, so that a run may go on with other values.
    """

    #: One for each GPU, or so many on the CPU; every batch size is a multiple of it.
    processes: int = Field(ge=1)
    #: ``ddp`` (whole weights in each), ``fsdp2`` or ``zero3`` (weights shared out), or a file of
    #: ``accelerate config``. PPO keeps whole weights: where this shards them, it runs with ``ddp``.
    config: str = "ddp"
