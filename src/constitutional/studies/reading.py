"""Reading registrations, and the recipe of each arm and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from constitutional.documents import Document, LocatedError, explain, parse_yaml
from constitutional.errors import InputError, nearest
from constitutional.recipe import MICROWORLD, Recipe, resource
from constitutional.recipe.reading import text_of
from constitutional.runs import fingerprint_of
from constitutional.runs.files import sha256_of
from constitutional.studies.registration import Figure, Measure, Registration, Rule

#: Where the package keeps its registrations, and in ``base`` the recipes that they begin from.
REGISTERED = Path(__file__).parent / "registered"
_LONGEST_PATH = 1000
_NAMES: dict[type[BaseModel], str] = {
    Registration: "a study",
    Measure: "a measure",
    Rule: "a rule",
    Figure: "a figure",
}

RecipeData = dict[str, Any]
#: What stands in the place of a text that may be a path from a folder.
Place = Callable[[str, Path], str]


@dataclass(frozen=True)
class Study:
    """A registration with the recipe that it begins from."""

    registration: Registration
    path: Path
    document: Document
    base: Mapping[str, Any]
    #: Where the paths of the base recipe start.
    base_folder: Path

    @property
    def name(self) -> str:
        """What the study is called."""
        return self.registration.study

    @property
    def word(self) -> str:
        """What `cai study` takes for it: its name, or its file where it is a user's own."""
        return self.name if self.path.parent == REGISTERED else str(self.path)

    def recipe(self, arm: str, seed: int, where: Place = lambda text, folder: text) -> RecipeData:
        """The whole recipe of a run: base, what is set for all arms, the arm, the seed.

        ``where`` is asked for each text, with the folder where its path would start: that of the
        base recipe, or of the registration.
        """
        data: RecipeData = _each_text(dict(self.base), lambda text: where(text, self.base_folder))
        for at, changes in (
            (("set",), self.registration.set),
            (("arms", arm), self.registration.arms[arm]),
        ):
            for key, value in changes.items():
                placed = _each_text(value, lambda text: where(text, self.path.parent))
                try:
                    _change(data, key, placed)
                except ValueError as error:
                    raise self._wrong(str(error), *at, key) from None
        return {**data, "name": f"{self.name}-{arm}", "seed": seed}

    def check(self) -> None:
        """Raise InputError, with the line, for the first arm whose recipe cannot be run."""
        for arm in self.registration.arms:
            recipe = self.recipe(arm, self.registration.seeds[0])
            try:
                Recipe.model_validate(recipe)
            except ValidationError as error:
                sentence = explain(error, Document(recipe), Recipe, {Recipe: "a recipe"}).sentence
                raise self._wrong(f"arm {arm!r} is no recipe: {sentence}", "arms", arm) from None

    @cached_property
    def recipes(self) -> dict[str, str]:
        """A fingerprint of each arm's recipe and of the files that it names, whatever the seed.

        Of folders, which are models, the name counts.
        """
        arms = self.registration.arms
        return {arm: fingerprint_of([self.recipe(arm, 0, contents)]) for arm in arms}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides the verdict: recipes, seeds, measures, rules.

        The words about it (title, question, claim), its number and its figure may be mended.
        """
        told = {"title", "question", "claim", "number", "figure", "seconds", "base", "set", "arms"}
        return fingerprint_of([self.registration.model_dump(exclude=told), self.recipes])

    def runnable(self, arm: str, seed: int) -> RecipeData:
        """The recipe with absolute paths, since it is written elsewhere."""
        return self.recipe(arm, seed, _absolute)

    def _wrong(self, sentence: str, *at: str) -> InputError:
        return InputError(sentence, path=self.path, line=self.document.line(at))


def registered() -> list[Study]:
    """All studies that ship with the package, by their numbers."""
    studies = [load_study(path) for path in sorted(REGISTERED.glob("*.yaml"))]
    return sorted(studies, key=lambda study: (study.registration.number, study.name))


def find_study(name: str) -> Study:
    """A registered study by its name, or a file of one's own."""
    path = REGISTERED / f"{name}.yaml"
    if "/" not in name and path.is_file():
        return load_study(path)
    if name.endswith((".yaml", ".yml")):
        return load_study(Path(name))
    known = [path.stem for path in sorted(REGISTERED.glob("*.yaml"))]
    raise InputError(
        f"there is no registered study {name!r}; {nearest(name, known)}; "
        "a study of your own is given as its file, NAME.yaml"
    )


def load_study(path: Path) -> Study:
    """Read a registration and its base recipe; InputError with the file and the line."""
    document = _document(path, "a study")
    try:
        registration = Registration.model_validate(document.data)
    except ValidationError as error:
        fault = explain(error, document, Registration, _NAMES)
        raise InputError(fault.sentence, path=path, line=fault.line) from None
    if registration.study != path.stem:
        line = document.line(("study",))
        raise InputError(
            f"'study' must be {path.stem!r}, as the file is called, found {registration.study!r}",
            path=path,
            line=line,
        )
    base = _base(path, registration.base, document)
    return Study(registration, path, document, _document(base, "a recipe").data, base.parent)


def _base(path: Path, name: str, document: Document) -> Path:
    own = path.parent / name
    if name.endswith((".yaml", ".yml")) and own.is_file():
        return own
    shipped = REGISTERED / "base" / f"{name}.yaml"
    if "/" not in name and shipped.is_file():
        return shipped
    known = [path.stem for path in sorted((REGISTERED / "base").glob("*.yaml"))]
    raise InputError(
        f"there is no base recipe {name!r}; {nearest(name, known)}; a recipe of your own is given "
        "as its file, NAME.yaml, from this file's folder",
        path=path,
        line=document.line(("base",)),
    )


def _document(path: Path, what: str) -> Document:
    text = text_of(path, what)
    try:
        document = parse_yaml(text)
    except LocatedError as error:
        raise InputError(error.sentence, path=path, line=error.line) from None
    if not isinstance(document.data, dict):
        raise InputError(f"expected {what}: a mapping of keys", path=path)
    return document


def _change(data: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key; sections on the way that are not there are made."""
    *way, last = key.split(".")
    place = data
    for part in way:
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{key!r} leads through {part!r}, which is no section in the recipe")
        place = inner
    place[last] = value


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of plain data with every text changed."""
    if isinstance(value, dict):
        return {key: _each_text(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_each_text(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def _absolute(text: str, folder: Path) -> str:
    """An absolute path for a text that names something in ``folder``; other texts stay.

    A bare word is never taken for a folder, since ``helpful`` is a word of recipes.
    """
    if text.startswith(MICROWORLD) or "\n" in text or len(text) > _LONGEST_PATH:
        return text
    path = folder / text
    return str(path.resolve()) if ("/" in text or path.suffix) and path.exists() else text


def contents(text: str, folder: Path) -> str:
    """A hash of what it holds in place of a text that names a file."""
    if text.startswith(MICROWORLD):
        try:
            path = Path(resource(text, folder))
        except InputError:  # not there, which the run will say
            return text
    else:
        path = Path(_absolute(text, folder))
    is_path = path.is_absolute() and path.is_file()
    return _hash_of(path, path.stat().st_mtime_ns) if is_path else text


@cache
def _hash_of(path: Path, changed: int) -> str:
    return sha256_of(path)
