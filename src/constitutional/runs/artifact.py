"""The files of an artifact (a model folder): their marks, and whether they are still those."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from constitutional.errors import RunFolderError
from constitutional.runs.files import explain, fsync_file, fsync_folder, sha256_of
from constitutional.runs.stage import FileMark


def refuse_links_out(folder: Path, root: Path) -> None:
    """Raise when a symbolic link anywhere in ``folder`` leads out of ``root``."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and not _within(path, root):
                raise RunFolderError(
                    f"{path} is a symbolic link out of the run folder: put what it leads to in its"
                    " place, or remove the link"
                )


def _within(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a circle
        return False


def mark_files(folder: Path) -> dict[str, FileMark]:
    """Marks of all files in ``folder`` by relative path, all of them on the disk on return."""
    marks: dict[str, FileMark] = {}
    try:
        for path in _files(folder):
            fsync_file(path)
            mark = FileMark(size=path.stat().st_size, sha256=sha256_of(path))
            marks[path.relative_to(folder).as_posix()] = mark
        for parent, _, _ in os.walk(folder):
            fsync_folder(Path(parent))
    except OSError as error:
        raise explain(error, folder) from error
    return marks


def damage(folder: Path, marks: Mapping[str, FileMark]) -> str | None:
    """What is wrong with the files in ``folder``; None when each is as marked.

    Files without a mark are not looked at: a note of the user's is no damage.
    """
    # sizes of all first: a missing or cut file is found before gigabytes are hashed
    for name, mark in marks.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            return f"{name} is missing"
        if (size := path.stat().st_size) != mark.size:
            return f"{name} has {size} bytes instead of {mark.size}"
    for name, mark in marks.items():
        if sha256_of(folder / name) != mark.sha256:
            return f"{name} has changed"
    return None


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for path in (Path(parent, name) for name in sorted((*folders, *files))):
            if path.is_symlink():
                raise RunFolderError(
                    f"{path} is a symbolic link; a result holds real files, as it is moved"
                )
            if path.is_file():
                yield path
