"""What a training is: everything that decides its result, and where it works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines.base import Style
from constitutional.errors import InputError
from constitutional.preference.settings import PreferenceConfig, PretrainingConfig
from constitutional.rl.settings import PPOConfig
from constitutional.runs import Chosen
from constitutional.runs.files import atomic_write
from constitutional.runs.lines import encode
from constitutional.runs.records import Comparison
from constitutional.spool import Spooled
from constitutional.supervised.settings import FinetuneConfig

T = TypeVar("T")


def _as_it_lies(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """What lies on the disk stays there; rows that were read are checked."""
    return value if isinstance(value, Chosen | Spooled) else tuple(handler(value))


#: What is trained on: rows in memory, or a sequence on the disk that a training goes through.
Rows = Annotated[Sequence[T], WrapValidator(_as_it_lies), PlainSerializer(tuple)]


class _Job(BaseModel):
    """What every training has. ``model`` is what it begins from; ``work / "result"`` is left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    style: Style
    seed: int
    device: str
    work: Path


class Finetuning(_Job):
    """Finetuning on the last turns of conversations."""

    kind: Literal["finetuning"] = "finetuning"
    title: str
    conversations: Rows[Conversation]
    config: FinetuneConfig


class PreferencePretraining(_Job):
    """The training of a preference model on ranked answers that comes first."""

    kind: Literal["preference_pretraining"] = "preference_pretraining"
    comparisons: Rows[Comparison]
    config: PretrainingConfig


class PreferenceTraining(_Job):
    """The training of a preference model; the score mean is that of the ``held_out`` responses."""

    kind: Literal["preference_model"] = "preference_model"
    comparisons: Rows[Comparison]
    held_out: Rows[Comparison]
    config: PreferenceConfig


class PolicyTraining(_Job):
    """PPO against a preference model, watched by another where there is one.

    ``pretrained`` is the model that policy and preference models come from. ``batch_size`` is how
    many texts each process samples and scores at once.
    """

    kind: Literal["ppo"] = "ppo"
    pretrained: str
    preference_model: Path
    held_out_model: Path | None
    red_team: Rows[PromptRecord]
    helpful: Rows[PromptRecord]
    batch_size: int
    config: PPOConfig


Job = Finetuning | PreferencePretraining | PreferenceTraining | PolicyTraining

_JOB: TypeAdapter[Job] = TypeAdapter(Annotated[Job, Field(discriminator="kind")])


def write_job(job: Job, path: Path) -> None:
    """Write the job as JSON."""
    atomic_write(path, encode(job))


def read_job(path: Path) -> Job:
    """The job that :func:`write_job` wrote. Raises InputError where there is none."""
    try:
        return _JOB.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"there is no job to read: {error.strerror}", path=path) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"this is no training job: {where}: {first['msg']}", path=path) from error
