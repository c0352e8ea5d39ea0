"""The pieces that stages are put together from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from constitutional.planning.amounts import Amount, amount, between
from constitutional.planning.shape import ModelShape
from constitutional.planning.sizes import Lengths, Role, Sizes
from constitutional.planning.work import BYTES, Format, Saved, Work
from constitutional.recipe import Recipe
from constitutional.training_settings import TrainingSettings

#: Bytes of a record around its texts (ids, tags, flags, token counts), and of each of its tokens.
RECORD_BYTES = between(200, 500, 1500)
TOKEN_BYTES = between(3, 4.5, 7)


@dataclass(frozen=True)
class Shapes:
    """The models of a recipe. ``contrast`` are those that answer beside SL-CAI, but snapshots."""

    pretrained: ModelShape
    helpful: ModelShape | None = None
    contrast: tuple[tuple[str, ModelShape], ...] = ()
    ai_judge: ModelShape | None = None
    #: Who criticises and who labels where it is an engine of their own.
    critic: ModelShape | None = None
    feedback: ModelShape | None = None

    @property
    def served(self) -> tuple[ModelShape, ...]:
        """Those behind a server, each once."""
        found = [self.helpful, self.critic, self.feedback, self.ai_judge]
        found += [shape for _, shape in self.contrast]
        return tuple(dict.fromkeys(shape for shape in found if shape and shape.server))


@dataclass(frozen=True)
class Build:
    """A recipe with its sizes and shapes, from which the stages are built.

    ``format`` is the number format of sampling: float32 on a CPU, bfloat16 on a GPU, unless the
    recipe says.
    """

    recipe: Recipe
    sizes: Sizes
    shapes: Shapes
    format: Format
    gpu: bool

    def sample(
        self,
        what: str,
        shape: ModelShape,
        asked: Lengths,
        role: Role,
        limit: int,
        *,
        section: str = "models",
        format: Format | None = None,
    ) -> Work:
        """A text of ``role`` after each of ``asked``."""
        new = self.sizes.written(role, limit)
        return Work(
            what=what,
            kind="sample",
            model=shape,
            sequences=asked.number,
            prompt=asked.tokens,
            new=asked.number * new,
            longest=asked.longest + limit,
            batch=self.recipe.models.batch_size,
            room=limit,
            format=format or self.format,
            section=section,
        )

    def read(
        self, what: str, shape: ModelShape, texts: Lengths, *, format: Format, scalar: bool = False
    ) -> Work:
        """A forward pass over each of ``texts``; ``scalar`` by a preference model."""
        return Work(
            what=what,
            kind="read",
            model=shape,
            sequences=texts.number,
            prompt=texts.tokens,
            longest=texts.longest,
            batch=self.recipe.models.batch_size,
            format=format,
            language_model=not scalar,
        )

    def train(
        self,
        what: str,
        shape: ModelShape,
        texts: Lengths,
        settings: TrainingSettings,
        section: str,
        *,
        language_model: bool = True,
        each: int = 1,
    ) -> Work:
        """All epochs over ``texts``, of which ``each`` make an example."""
        seen = texts.times(settings.epochs)
        return Work(
            what=what,
            kind="train",
            model=shape,
            sequences=seen.number,
            prompt=seen.tokens,
            longest=texts.longest.at_most(settings.max_length),
            batch=settings.batch_size * each,
            lora=settings.lora,
            language_model=language_model,
            accumulate=settings.accumulate,
            autocast=self.gpu,
            recomputes=settings.gradient_checkpointing,
            section=section,
        )


def steps(work: Work) -> int:
    """The updates of a training, about."""
    return math.ceil(work.sequences.value / (work.batch * work.accumulate))


def model_bytes(shape: ModelShape) -> float:
    """A saved model: trainings save float32."""
    return shape.parameters * BYTES["float32"]


def records_saved(works: tuple[Work, ...], records: Amount, more: float = 0.0) -> Saved:
    """Records hold the texts that were written, and the prompts of the first work."""
    tokens = works[0].prompt if works else amount(0)
    for work in works:
        tokens = tokens + work.new
    return Saved(kept=records * RECORD_BYTES + tokens * TOKEN_BYTES + more)


def training_saved(shape: ModelShape, changed: float, copies: int = 1) -> Saved:
    """The result (and snapshots), and two checkpoints of what changes and its moments."""
    one = model_bytes(shape)
    return Saved(kept=amount(one * copies), passing=amount(2 * 3 * changed * 4))
