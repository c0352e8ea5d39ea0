"""Files of every known form, read row by row; what a row means is for ``prompt_rows``."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constitutional.archives import HEAD, packed, unpack_it
from constitutional.errors import MissingExtraError, PromptFileError, nearest

#: A longer line is no prompt but a file of another kind; it is refused before it fills the memory.
MAX_LINE_BYTES = 10_000_000
#: A JSON list is read whole; a longer one, which may be a small file in gzip, is refused.
MAX_LIST_BYTES = 1_000_000_000

FORMS = (
    "JSON lines (.jsonl, .jsonl.gz), a JSON list (.json), CSV (.csv), Parquet (.parquet), "
    "plain text with one prompt a line (.txt), or the name of a Hugging Face data set"
)
_TEXT_SUFFIXES = (".txt", ".text", "")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.\[\]%:-]+)?")
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".text", ".gz")


@dataclass(frozen=True)
class Row:
    """One row: its place, its value, or why it has none.

    ``line`` is the 1-based line; None where the form has no lines, and then ``label`` ("item 3")
    says the place. ``raw`` is the row as it stood; bytes that are no UTF-8 are surrogate escapes,
    so that ``raw.encode("utf-8", "surrogateescape")`` gives them back.
    """

    value: Any
    raw: str
    line: int | None = None
    label: str = ""
    problem: str | None = None


def read_rows(spec: str | Path, part: str | None = None) -> Iterator[Row]:
    """The rows of a file, a folder or a Hugging Face data set (``name`` or ``name:split``).

    ``part`` is the folder of a data set on the hub that is read. Lines are streamed; only a list is
    read whole. Raises PromptFileError for what cannot be read at all; a single unreadable line is a
    row with a ``problem``.
    """
    path = Path(spec)
    if path.is_file():
        return _read_file(path)
    if path.is_dir():
        return _read_dataset(str(path), "train", part)
    _refuse_missing_file(str(spec), path)
    name, _, split = str(spec).partition(":")
    return _read_dataset(name, split or "train", part)


def _refuse_missing_file(spec: str, path: Path) -> None:
    """Tell a mistyped file name from the name of a data set, before asking the network."""
    if _HUB_NAME.fullmatch(spec) and path.suffix.lower() not in _SUFFIXES:
        return
    if path.parent.is_dir():
        there = [p.name for p in path.parent.iterdir() if p.suffix.lower() in _SUFFIXES]
        hint = nearest(path.name, sorted(there)[:20]) if there else "the folder holds no prompts"
    else:
        hint = f"there is no folder {path.parent}"
    raise PromptFileError(f"no such file; {hint}", path=path)


def _read_file(path: Path) -> Iterator[Row]:
    try:
        reader = _reader(path)
    except OSError as error:
        raise PromptFileError(f"cannot be read: {error.strerror or error}", path=path) from error
    return _guarded(path, reader)


def _guarded(path: Path, reader: Callable[[Path], Iterator[Row]]) -> Iterator[Row]:
    try:
        yield from reader(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PromptFileError(
            f"the gzip data is damaged or cut off ({error}): fetch the file again", path=path
        ) from error
    except OSError as error:
        raise PromptFileError(f"cannot be read: {error.strerror or error}", path=path) from error


def _reader(path: Path) -> Callable[[Path], Iterator[Row]]:
    """The reader for this file, by its extension and its first bytes. Refuses an unknown form."""
    with path.open("rb") as file:
        head = file.read(4)
    suffixes = [s.lower() for s in path.suffixes]
    suffix = next((s for s in reversed(suffixes) if s != ".gz"), "")
    if head == b"PAR1":
        return _read_parquet
    if suffix == ".parquet":
        raise PromptFileError("is named .parquet but holds no Parquet data", path=path)
    if kind := _archive(path):
        raise PromptFileError(unpack_it(kind), path=path)
    start = _first_text(path)
    if not start:
        raise PromptFileError("the file is empty: expected at least one prompt", path=path)
    if suffix in (".jsonl", ".ndjson"):
        # hh-rlhf's red-team attempts are a list under the name of lines
        return _read_json_list if start[:1] == b"[" else _read_json_lines
    if suffix in (".csv", ".tsv"):
        return _read_csv
    if suffix == ".json" or (suffix not in (".txt", ".text") and start[:1] in (b"{", b"[")):
        return _read_json_list if start[:1] == b"[" else _read_json_lines
    if suffix not in _TEXT_SUFFIXES:
        raise PromptFileError(f"unknown form {suffix!r}: expected {FORMS}", path=path)
    if _is_json_object(start):
        raise PromptFileError("holds JSON lines: name it .jsonl, not .txt", path=path)
    return _read_text


def _archive(path: Path) -> str | None:
    """What kind of archive the file is, also below gzip; None for a file of texts."""
    with path.open("rb") as file:
        kind = packed(file.read(HEAD), gzip=True)
    try:
        with _open(path) as opened:
            return kind or packed(opened.read(HEAD))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return None  # reading it will say what is wrong


def _first_text(path: Path) -> bytes:
    """The first line that is not blank, without its byte-order mark; empty for an empty file."""
    try:
        with _open(path) as file:
            for line in _lines(file):
                text = line.removeprefix(codecs.BOM_UTF8).strip()
                if text:
                    return text
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b"?"  # reading it will say what is wrong
    return b""


def _is_json_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def _lines(file: io.BufferedIOBase) -> Iterator[bytes]:
    """Lines split at line feeds alone; one that is too long comes back cut just over the limit."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        cut = rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)  # the rest of it, to be thrown away
        yield cut


def _text_rows(path: Path) -> Iterator[Row]:
    """The lines of a file that are not blank, without their line ends."""
    with _open(path) as file:
        for number, line in enumerate(_lines(file), start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            if len(line) > MAX_LINE_BYTES:
                start = line[:1000].decode("utf-8", "surrogateescape")
                problem = (
                    f"the line is longer than {MAX_LINE_BYTES // 10**6} MB: is this one prompt a "
                    "line? (only its first 1000 bytes are set aside)"
                )
                yield Row(None, start, number, problem=problem)
                continue
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            raw = line.decode("utf-8", "surrogateescape")
            yield Row(raw, raw, number, problem=_not_utf8(line))


def _not_utf8(line: bytes) -> str | None:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} of the line is not UTF-8: save the file as UTF-8"
    return None


def _read_text(path: Path) -> Iterator[Row]:
    return _text_rows(path)


def _read_json_lines(path: Path) -> Iterator[Row]:
    for row in _text_rows(path):
        if row.problem is not None:
            yield row
            continue
        try:
            yield Row(json.loads(row.raw), row.raw, row.line)
        except (ValueError, RecursionError) as error:
            problem = f"expected one JSON object a line ({error}); a JSON list needs a .json file"
            yield Row(None, row.raw, row.line, problem=problem)


def _read_json_list(path: Path) -> Iterator[Row]:
    try:
        with _open(path) as file:
            data = file.read(MAX_LIST_BYTES + 1)
        if len(data) > MAX_LIST_BYTES:
            longest = f"{MAX_LIST_BYTES // 10**6} MB"
            raise PromptFileError(
                f"a JSON list of more than {longest}: write one object a line (.jsonl)", path=path
            )
        items = json.loads(data.removeprefix(codecs.BOM_UTF8))
    except json.JSONDecodeError as error:
        raise PromptFileError(
            f"no valid JSON: {error.msg}", path=path, line=error.lineno
        ) from error
    except (ValueError, RecursionError) as error:
        raise PromptFileError(f"no valid JSON: {error}", path=path) from error
    for number, item in enumerate(items, start=1):
        yield Row(item, json.dumps(item), label=f"item {number}")


def _read_csv(path: Path) -> Iterator[Row]:
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    with _open(path) as file:
        reader = csv.DictReader(_csv_lines(file), delimiter=delimiter)
        try:
            _ = reader.fieldnames  # reads the header, so that the first row's line is known
        except csv.Error as error:
            raise PromptFileError(f"no valid CSV header: {error}", path=path, line=1) from error
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(None, "", line, problem=f"no valid CSV row: {error}")
                continue
            yield Row(row, json.dumps(list(row.values())), line, problem=_csv_problem(row))


def _csv_lines(file: io.BufferedIOBase) -> Iterator[str]:
    """Lines with their ends, of any of the three kinds, as the csv module wants them.

    One that is too long comes cut, and then has a cell beyond the module's own limit.
    """
    for number, line in enumerate(_lines(file)):
        if number == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        yield from io.StringIO(line.decode("utf-8", "surrogateescape"), newline="")


def _csv_problem(row: dict[str | Any, str | Any]) -> str | None:
    columns = len(row.keys() - {None})
    if None in row:
        return f"expected {columns} columns, found more: put quotes around a text with commas"
    if None in row.values():
        return f"expected {columns} columns, found fewer: complete the row"
    return None


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data", "reading a Parquet file") from error
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=1000):
            for item in batch.to_pylist():
                number += 1
                yield Row(item, json.dumps(item, default=str), label=f"row {number}")
    except (ValueError, NotImplementedError) as error:  # pyarrow's own errors are ValueErrors
        raise PromptFileError(f"no valid Parquet data: {error}", path=path) from error


def _read_dataset(name: str, split: str, part: str | None) -> Iterator[Row]:
    for number, item in enumerate(_load_dataset(name, split, part), start=1):
        yield Row(item, json.dumps(item, default=str), label=f"row {number}")


def _load_dataset(name: str, split: str, part: str | None) -> Any:
    """A ``datasets`` data set from a folder (saved, or of data files) or from the hub."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "data", f"loading the data set {name!r}") from error
    folder = Path(name)
    try:
        if any((folder / mark).is_file() for mark in ("state.json", "dataset_dict.json")):
            saved = datasets.load_from_disk(name)
            return saved[split] if isinstance(saved, datasets.DatasetDict) else saved
        return datasets.load_dataset(name, split=split, data_dir=part)
    except Exception as error:  # the library lets through errors of the many it is built upon
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        what = "no data set could be loaded from this folder"
        if not folder.is_dir():
            what = "no file of this name, and no such data set on the Hugging Face hub"
        raise PromptFileError(f"{what} (split {split!r}): {first}", path=name) from error
