"""Reading a recipe, and finding what it refers to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from constitutional.archives import HEAD, packed, unpack_it
from constitutional.constitution import Constitution, load_constitution, merge, read_few_shots
from constitutional.documents import LocatedError, explain, parse_yaml
from constitutional.errors import RecipeError
from constitutional.recipe.whole import Recipe

MICROWORLD = "microworld:"
#: A recipe is a few kilobytes; a file beyond this is something else, given by mistake.
MAX_BYTES = 1024 * 1024


def load_recipe(
    path: Path, *, seed: int | None = None, constitution: Sequence[str] | None = None
) -> Recipe:
    """Read a recipe; ``seed`` and ``constitution`` replace what it says.

    Raises RecipeError with the file, the line and the nearest known key. A constitution given here
    is a path from the working folder, so it is made absolute unless it is ``default`` or embedded.
    """
    text = text_of(path)
    try:
        document = parse_yaml(text)
        if not isinstance(document.data, dict):
            raise LocatedError("expected a recipe: keys such as name, constitution, models")
        data = dict(document.data)
        if seed is not None:
            data["seed"] = seed
        if constitution:
            data["constitution"] = [from_here(name) for name in constitution]
        try:
            return Recipe.model_validate(data)
        except ValidationError as error:
            raise explain(error, document, Recipe, {Recipe: "a recipe"}) from None
    except LocatedError as error:
        raise RecipeError(error.sentence, path=path, line=error.line) from None


def text_of(path: Path, what: str = "a recipe") -> str:
    """The text of a file that is to be ``what``; RecipeError where it cannot be."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if kind := packed(data[:HEAD]):
            raise RecipeError(unpack_it(kind), path=path)
        if len(data) > MAX_BYTES:
            raise RecipeError(
                f"larger than {MAX_BYTES // 1024} KiB, which is not {what}", path=path
            )
        # as text files are read: any end of a line is one
        return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"expected {what} in YAML, but {reason}", path=path) from None


def from_here(name: str) -> str:
    """A constitution that a user names on the command line, as a path from anywhere."""
    return name if name == "default" or name.startswith(MICROWORLD) else str(Path(name).absolute())


def named_constitution(name: str) -> Constitution:
    """A constitution that a user names on the command line: a file, ``default``, or one of the
    microworld's. Raises ConstitutionFileError, and InputError for a name that the latter lacks.
    """
    return load_constitution(resource(name, Path()))


def read_constitution(
    files: Sequence[str], few_shots: Sequence[str], base: Path
) -> Constitution | None:
    """What a recipe's keys of these names lead to from its folder; None without a file.

    Raises ConstitutionFileError.
    """
    if not files:
        return None
    parts = [load_constitution(resource(name, base)) for name in files]
    constitution = parts[0] if len(parts) == 1 else merge(parts[0], parts[1])
    for name in few_shots:
        constitution = constitution.with_few_shots(read_few_shots(resource(name, base)))
    return constitution


def resource(reference: str, base: Path) -> str:
    """Where a reference of a recipe leads: the microworld's files, a path, or a name on a hub.

    ``base`` is the recipe's folder. A relative path is returned joined to it where that exists;
    otherwise the reference is returned unchanged, for it may be a hub name.
    """
    if reference.startswith(MICROWORLD):
        from constitutional.microworld import data_file

        return str(data_file(reference.removeprefix(MICROWORLD)))
    path = Path(reference).expanduser()
    return str(base / path) if not path.is_absolute() and (base / path).exists() else reference
