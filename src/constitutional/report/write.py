"""The file of a report: which page it holds, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from constitutional.errors import InputError
from constitutional.reading.run import Run
from constitutional.report.one.page import page_of
from constitutional.report.render import as_html, as_markdown
from constitutional.report.several.page import page_of_several
from constitutional.runs import atomic_write


def write_page(folders: Sequence[Path], out: Path | None = None, *, markdown: bool = False) -> Path:
    """Write the report of one run, or of several side by side; returns the file.

    ``out`` is by default ``report.html`` in the run's folder, and ``comparison.html`` here for
    several runs. Raises RunFolderError for a folder that is no run.
    """
    runs = [Run(folder) for folder in folders]
    suffix = "md" if markdown else "html"
    if out is None:
        out = Path(f"comparison.{suffix}") if len(runs) > 1 else runs[0].path / f"report.{suffix}"
    if out.is_dir():
        raise InputError("a folder stands where the report is to go: give --out a file", path=out)
    if not out.parent.is_dir():
        raise InputError("there is no such folder: make it, or give --out another", path=out.parent)
    page = page_of_several(runs) if len(runs) > 1 else page_of(runs[0])
    text = as_markdown(page, out.parent) if markdown else as_html(page)
    # a model may have written half a character, which UTF-8 cannot carry: it becomes "?"
    atomic_write(out, text.encode(errors="replace"))
    return out
