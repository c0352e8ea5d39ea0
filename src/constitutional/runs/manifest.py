"""What a run is: its resolved recipe (``recipe.yaml``) and its circumstances (``run.json``)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from constitutional.errors import RunFolderError
from constitutional.runs.copies import copy_of, heal, write_twice
from constitutional.runs.files import explain

#: Version of the layout of a run folder; a folder of another format is refused.
FORMAT = 1
RECIPE = "recipe.yaml"
RUN = "run.json"

_ABSENT = object()


class Session(BaseModel):
    """One start or resumption of a run: when, by what command, with which versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: str
    command: str
    versions: dict[str, str]


class Manifest(BaseModel):
    """``run.json``: fixed when the run is made; only ``resumed`` grows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    created: str
    command: str
    versions: dict[str, str]
    seed: int | None = None
    inputs: dict[str, str] = {}
    resumed: tuple[Session, ...] = ()

    @property
    def recipe_folder(self) -> Path:
        """Where the recipe's paths start, as seen from where the command was given.

        It is the folder of the recipe in ``cai run RECIPE``; the demo's paths need none.
        """
        words = shlex.split(self.command)
        recipe = Path(words[2]) if words[1:2] == ["run"] and len(words) > 2 else Path()
        return recipe.parent


def refuse_strangers(folder: Path) -> None:
    """Raise when ``folder`` holds files but no run."""
    # a kill while a run is being made leaves these; hidden files are nobody's work
    harmless = {RECIPE, "lock"}
    try:
        names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
    except OSError as error:
        raise explain(error, folder) from error
    if RUN not in names and names - harmless and not copy_of(folder / RUN).exists():
        raise RunFolderError(
            f"{folder} is no run folder and is not empty (it holds {min(names - harmless)}):"
            " choose a new or an empty folder"
        )


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers, read without importing any of it."""
    found = {"python": python_version()}
    for package in ("constitutional", "torch", "transformers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def open_manifest(
    folder: Path,
    recipe: Mapping[str, Any],
    *,
    command: str,
    inputs: Mapping[str, str],
    free_keys: Collection[str],
    tell: Callable[[str], None],
) -> Manifest:
    """Make, or mend and check, both files; the folder is locked by the caller.

    ``recipe.yaml`` is replaced when only free keys differ, so that it says what the last session
    ran with. ``run.json`` is written last when a run is made: without it there is no run yet.
    """
    resolved: dict[str, Any] = json.loads(json.dumps(recipe))
    session = Session(time=_now(), command=command, versions=versions())
    for name in (RECIPE, RUN):
        heal(folder / name, tell)
    if (folder / RUN).exists():
        manifest = _read_manifest(folder)
        _check_recipe(folder, _read_recipe(folder), resolved, free_keys)
        _check_inputs(folder, manifest.inputs, inputs)
        manifest = manifest.model_copy(update={"resumed": (*manifest.resumed, session)})
    else:
        manifest = Manifest(
            created=session.time,
            command=command,
            versions=session.versions,
            seed=resolved.get("seed"),
            inputs=dict(inputs),
        )
    text = yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True, width=100)
    write_twice(folder / RECIPE, text.encode())
    write_twice(folder / RUN, manifest.model_dump_json(indent=2).encode() + b"\n")
    return manifest


def read_run(folder: Path) -> tuple[Manifest, dict[str, Any]]:
    """What the run in ``folder`` is, and its resolved recipe; safe beside a live run.

    Raises RunFolderError where there is no run.
    """
    if not (folder / RUN).is_file():
        raise RunFolderError(
            f"{folder} is no run folder: it has no {RUN}; give the folder of a run"
        )
    return _read_manifest(folder), _read_recipe(folder)


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], free_keys: Collection[str] = ()
) -> list[tuple[str, str, str]]:
    """``(dotted key, old, new)`` for every value that differs and is not under a free key."""
    before, after = dict(_flat(old)), dict(_flat(new))
    return [
        (key, _shown(before.get(key, _ABSENT)), _shown(after.get(key, _ABSENT)))
        for key in sorted({*before, *after})
        if not _equal(before.get(key, _ABSENT), after.get(key, _ABSENT))
        and not any(key == free or key.startswith(f"{free}.") for free in free_keys)
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _equal(old: object, new: object) -> bool:
    if _ABSENT in (old, new) and None in (old, new):
        return True  # an optional key that one of the versions did not know
    return old == new and isinstance(old, bool) == isinstance(new, bool)


def _shown(value: object, width: int = 60) -> str:
    text = "(absent)" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= width else text[: width - 1] + "…"


def _check_recipe(
    folder: Path, old: Mapping[str, Any], new: Mapping[str, Any], free_keys: Collection[str]
) -> None:
    changed = differences(old, new, free_keys)
    if changed:
        listed = "; ".join(f"{key}: {before} → {after}" for key, before, after in changed[:5])
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise RunFolderError(
            f"{folder} holds a run of another recipe ({listed}{more}):"
            " choose another run folder, or restore these values"
        )


def _check_inputs(folder: Path, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if changed:
        raise RunFolderError(
            f"{folder} holds a run with other contents of: {', '.join(changed[:5])};"
            " choose another run folder, or restore what the run was started with"
        )


def _read_manifest(folder: Path) -> Manifest:
    path = folder / RUN
    try:
        data = json.loads(path.read_bytes())
        found = data.get("format") if isinstance(data, dict) else None
        if isinstance(found, int) and found != FORMAT:
            raise RunFolderError(
                f"{path} is of format {found}, this version reads format {FORMAT}:"
                " go on with the version that made the run, or choose another run folder"
            )
        return Manifest.model_validate(data)
    except OSError as error:
        raise explain(error, path) from error
    except (ValueError, ValidationError) as error:
        raise RunFolderError(
            f"{path} cannot be read as a run's description: restore it, or choose another folder"
        ) from error


def _read_recipe(folder: Path) -> dict[str, Any]:
    path = folder / RECIPE
    try:
        data = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise explain(error, path) from error
    except yaml.YAMLError as error:
        raise RunFolderError(f"{path} is not valid YAML: restore it, or choose another") from error
    if not isinstance(data, dict):
        raise RunFolderError(f"{path} holds no recipe: restore it, or choose another run folder")
    return data
