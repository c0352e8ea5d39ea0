"""What libraries make of a full or read-only disk, as one sentence."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from constitutional.errors import InputError, RunFolderError
from constitutional.runs import RunFolder


def opened(path: Path, error: Exception) -> None:
    with RunFolder.open(path, {"seed": 3}, command="cai run"):
        raise error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space is left on the disk"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "no space is left"),
        (OSError(errno.EROFS, "Read-only file system"), "the disk is read-only"),
        (RuntimeError("PytorchStreamWriter failed writing file data/3"), "could not be written"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"), "no space"),
    ],
)
def test_an_error_of_the_disk_is_one_sentence(error: Exception, says: str, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=says) as caught:
        opened(tmp_path, error)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert caught.value.__cause__ is error


def test_one_that_another_error_was_raised_of_is_found(tmp_path: Path) -> None:
    try:
        raise ValueError("cannot draw") from OSError(errno.ENOSPC, "No space left on device")
    except ValueError as error:
        with pytest.raises(RunFolderError, match="no space is left on the disk"):
            opened(tmp_path, error)


@pytest.mark.parametrize("error", [KeyError("a fault of ours"), InputError("no space is left")])
def test_other_errors_are_left_alone(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught:
        opened(tmp_path, error)
    assert caught.value is error
