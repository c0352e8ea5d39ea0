"""What a run remembers of one stage: ``stages/NAME/stage.json``."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from constitutional.errors import RunFolderError
from constitutional.runs.copies import write_twice
from constitutional.runs.files import explain, make_folder

STAGE = "stage.json"


class FileMark(BaseModel):
    """Size and hash of one file of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str


class StageState(BaseModel):
    """The contents of ``stage.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["records", "artifact"]
    inputs: dict[str, str]
    done: bool = False
    #: Wall seconds over all sessions; a kill loses at most the last few of them.
    seconds: float = 0.0
    records: int | None = None
    sha256: str | None = None
    files: dict[str, FileMark] | None = None
    #: Taken from another run (:mod:`~.sharing`), whose seconds these are.
    shared: bool | None = None


class Stage:
    """A stage's folder and state; every change of the state is on the disk when it returns."""

    def __init__(self, folder: Path, kind: Literal["records", "artifact"]):
        self.name = folder.name
        self.folder = folder
        self._kind = kind
        self._saving = threading.Lock()  # the clock's thread saves too
        self.state = StageState(kind=kind, inputs={})

    def begin(self, inputs: Mapping[str, str]) -> None:
        """Start the stage, or go on with it when it was started with the same inputs."""
        make_folder(self.folder)
        if not (self.folder / STAGE).exists():
            self._refuse_strangers()
            self.update(inputs=dict(inputs))
            return
        self.state = read_state(self.folder)
        old: dict[str, str] = {"kind of stage": self.state.kind, **self.state.inputs}
        new: dict[str, str] = {"kind of stage": self._kind, **inputs}
        changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        if changed:
            listed = "; ".join(
                f"{key}: {_short(old.get(key))} → {_short(new.get(key))}" for key in changed[:5]
            )
            raise RunFolderError(
                f"stage {self.name} in {self.folder} was started with other inputs ({listed}):"
                " restore what changed, choose another run folder, or delete the stage's folder"
                " to make it again"
            )

    def update(self, **changes: Any) -> None:
        """Change the state and save it."""
        with self._saving:
            self.state = self.state.model_copy(update=changes)
            text = self.state.model_dump_json(indent=2, exclude_none=True)
            write_twice(self.folder / STAGE, text.encode() + b"\n")

    @contextmanager
    def clock(self, every: float = 5.0) -> Iterator[None]:
        """Add the wall time of the block to ``seconds``, also when it is interrupted or killed."""
        before, start, stop = self.state.seconds, time.monotonic(), threading.Event()

        def save() -> None:
            self.update(seconds=round(before + time.monotonic() - start, 3))

        def tick() -> None:
            while not stop.wait(every):
                with suppress(RunFolderError):  # the stage itself will meet and report it
                    save()

        thread = threading.Thread(target=tick, name=f"clock of {self.name}", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            stop.set()
            thread.join()
            with suppress(RunFolderError):
                save()
            raise
        stop.set()
        thread.join()
        save()

    def _refuse_strangers(self) -> None:
        found = sorted(e.name for e in self.folder.iterdir() if not e.name.startswith("."))
        if found:
            raise RunFolderError(
                f"{self.folder} holds {found[0]} but no {STAGE}, so nobody knows what it was made"
                f" from: restore {STAGE}, or delete this folder to make the stage again"
            )


def read_state(folder: Path) -> StageState:
    """The state of the stage in ``folder``."""
    path = folder / STAGE
    try:
        return StageState.model_validate_json(path.read_bytes())
    except OSError as error:
        raise explain(error, path) from error
    except ValidationError as error:
        raise RunFolderError(
            f"{path} is damaged: restore it, or delete the stage's folder to make the stage again"
        ) from error


def _short(value: str | None) -> str:
    if value is None:
        return "(absent)"
    return value if len(value) <= 16 else value[:12] + "…"
