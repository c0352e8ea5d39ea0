"""The data that a recipe names: prompts, comparisons, demonstrations, ratings."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from constitutional.dialogue.forms import (
    DEMONSTRATION_COLUMNS,
    PAIR_COLUMNS,
    PROMPT_COLUMNS,
    Form,
    of_columns,
)
from constitutional.dialogue.presets import PRESETS, Preset
from constitutional.errors import nearest
from constitutional.preference.settings import PretrainingConfig
from constitutional.recipe.section import Section, one_or_several
from constitutional.refusal import refusal
from constitutional.training_settings import TrainingSettings


class DataSet(Section):
    """Rows of another form: those of a known data set, or columns by other names.

    A ``preset`` without a file is read from the hub. ``columns`` says for keys of ours how the file
    calls them.
    """

    known_columns: ClassVar[tuple[str, ...]] = ()

    preset: str | None = None
    columns: dict[str, str] | None = None

    @field_validator("preset")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in PRESETS:
            raise refusal(f"there is no preset {name!r}; {nearest(name, PRESETS)}")
        return name

    @field_validator("columns")
    @classmethod
    def _of_ours(cls, columns: dict[str, str] | None) -> dict[str, str] | None:
        if columns is not None and not columns:
            raise refusal("'columns' is empty: name a column, or leave it out")
        for ours in columns or {}:
            if ours not in cls.known_columns:
                hint = nearest(ours, cls.known_columns)
                raise refusal(f"'columns' maps keys of ours, and {ours!r} is none; {hint}")
        return columns

    @model_validator(mode="after")
    def _one_form(self) -> DataSet:
        if self.preset and self.columns:
            raise refusal("'preset' says what the columns are: leave 'columns' out, or 'preset'")
        return self

    @property
    def known(self) -> Preset | None:
        """The preset, if there is one."""
        return None if self.preset is None else PRESETS[self.preset]

    @property
    def renamed(self) -> Form | None:
        """The column map as a form."""
        return None if self.columns is None else of_columns(self.columns)


class Prompts(DataSet):
    """A prompt set, from one file or several. ``limit`` draws so many by the run's seed."""

    known_columns = PROMPT_COLUMNS

    file: tuple[str, ...] = ()
    limit: int | None = Field(default=None, ge=1)
    #: Short for ``columns: {prompt: ...}``.
    column: str | None = None

    @field_validator("file", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @model_validator(mode="after")
    def _from_somewhere(self) -> Prompts:
        if not self.file and self.preset is None:
            raise refusal("a prompt set needs the key 'file', or 'preset': a data set by name")
        if self.column is not None and (self.preset or self.columns):
            raise refusal(
                "'column' is short for 'columns: {prompt: ...}', and does not stand beside "
                f"{'preset' if self.preset else 'columns'!r}",
                "column",
            )
        return self


class PromptSets(Section):
    """The prompts of the supervised stage."""

    red_team: Prompts
    helpful: Prompts


class HumanComparisons(DataSet):
    """Where human comparisons come from: a file, or the microworld's oracle in a person's place.

    ``file`` is in the form of hh-rlhf, of TRL or of a ``preset``. ``prompts`` are answered twice by
    the pretrained model (or by it and the models of ``contrast``), and the oracle compares the
    answers.
    """

    known_columns = PAIR_COLUMNS

    file: str | None = None
    #: So many of the comparisons, drawn by the run's seed; None for all.
    limit: int | None = Field(default=None, ge=1)
    prompts: Prompts | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> HumanComparisons:
        if (self.file is None and self.preset is None) == (self.prompts is None):
            raise refusal(
                "human comparisons need either 'file' (or 'preset') or 'prompts', and not both"
            )
        if self.prompts is not None and self.limit is not None:
            raise refusal("'limit' is of a 'file' or 'preset': put it below 'prompts'", "limit")
        if self.prompts is not None and self.columns:
            raise refusal("'columns' are those of a 'file': put them below 'prompts'", "columns")
        return self


class Demonstrations(DataSet):
    """Conversations whose last turn shows how to answer, from a file or from a preset."""

    known_columns = DEMONSTRATION_COLUMNS

    file: str | None = None

    @model_validator(mode="after")
    def _from_somewhere(self) -> Demonstrations:
        if self.file is None and self.preset is None:
            raise refusal("'demonstrations' needs a file, or 'preset': a data set by name")
        return self


class RankedAnswers(PretrainingConfig):
    """Preference model pretraining: a file of ranked answers, and how to train on them."""

    file: str


class HarmRatings(Section):
    """What the absolute harm score is trained on (section 5): conversations rated from 0 to 4.

    ``file`` has them, such as red-team attempts with ratings; answers of the pretrained and of the
    helpful model to ``prompts`` are rated by the judge.
    """

    file: str | None = None
    prompts: Prompts | None = None
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _one_of_both(self) -> HarmRatings:
        if (self.file is None) == (self.prompts is None):
            raise refusal("'harm_score' needs either 'file' or 'prompts', and not both")
        return self
