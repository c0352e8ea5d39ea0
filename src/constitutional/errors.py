"""Every error that the package raises on purpose.

ConstitutionalError
├── InputError           a file, a record or a setting from the user is wrong
│   ├── ConstitutionFileError   a constitution that cannot be read
│   ├── PromptFileError         a prompt set that cannot be read
│   └── RecipeError             a recipe that cannot be run
├── ModelError           a folder that is no model, a tokenizer that lacks what is needed
├── EngineError          a model did not answer as the protocol promises
├── TrainingError        a training whose numbers went wrong
├── MissingExtraError    an optional dependency is not installed
└── RunFolderError       a run folder that is in use, read-only, or of another run

The command line prints the message of any of these as one sentence and exits with 2. A message says
where (file and line), what was expected, what was found, and what to do. What was found may be
hostile: it is shown in one line, in which nothing moves the cursor or turns the text round.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

#: A message beyond this is no sentence but somebody's file.
LONGEST_MESSAGE = 1200


def one_line(text: str) -> str:
    """``text`` as one line that shows what is in it: :func:`in_sight`, its middle cut out where it
    is longer than a sentence.
    """
    if len(text) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2
        text = f"{text[:half]} [...] {text[-half:]}"
    return in_sight(text)


def in_sight(text: str) -> str:
    """``text`` with an escape for each character that does not print as itself.

    Those are controls (among them line ends and what terminals obey), marks that turn the direction
    of writing, marks without a width, spaces that look like the plain one, halves of characters.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class ConstitutionalError(Exception):
    """Base of all errors that the package raises on purpose; a message is :func:`one_line`.

    Each comes through pickle as it is, so that another process can say what went wrong there.
    """

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_was, (type(self), self.args, self.__dict__)


class InputError(ConstitutionalError):
    """Something that the user wrote is wrong; carries the file and the 1-based line where known."""

    def __init__(self, message: str, *, path: str | Path | None = None, line: int | None = None):
        self.path = None if path is None else Path(path)
        self.line = line
        self.reason = one_line(message)
        where = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(where + message)


class ConstitutionFileError(InputError):
    """A constitution that cannot be read."""


class PromptFileError(InputError):
    """A prompt set that cannot be read."""


class RecipeError(InputError):
    """A recipe that cannot be run."""


class ModelError(ConstitutionalError):
    """A folder that is no model, or a model or tokenizer that lacks what a stage needs."""


class EngineError(ConstitutionalError):
    """A model did not answer as the engine protocol promises."""


class TrainingError(ConstitutionalError):
    """A training whose numbers went wrong (NaN, infinity); names the step and the records."""


class MissingExtraError(ConstitutionalError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, what: str):
        super().__init__(
            f"{what} needs {package}, which is not installed: pip install 'constitutional[{extra}]'"
        )


class RunFolderError(ConstitutionalError):
    """A run folder that is in use, read-only, or holds another run."""


def _as_it_was(
    kind: type[ConstitutionalError], args: tuple[Any, ...], more: dict[str, Any]
) -> ConstitutionalError:
    # not by the constructor, whose arguments are not those of the message
    error = kind.__new__(kind, *args)
    error.__dict__.update(more)
    return error


def as_json(error: ConstitutionalError) -> str:
    """An error as text for a file: its kind and its sentence."""
    return json.dumps({"kind": type(error).__name__, "message": str(error)})


def from_json(text: str) -> ConstitutionalError:
    """The error of :func:`as_json`, of its kind where that is known. Nothing in it is run."""
    told = json.loads(text)
    kind = {k.__name__: k for k in _kinds(ConstitutionalError)}.get(told["kind"])
    # the file is another process's: its sentence is escaped here as if it were made here
    message = in_sight(told["message"])
    if kind is not None and issubclass(kind, InputError):
        return _as_it_was(kind, (message,), {"path": None, "line": None, "reason": message})
    return _as_it_was(kind or ConstitutionalError, (message,), {})


def _kinds(kind: type[ConstitutionalError]) -> list[type[ConstitutionalError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _kinds(child))]


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the closest of ``known`` to ``word``, or lists them when none is close."""
    known = list(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(known)
