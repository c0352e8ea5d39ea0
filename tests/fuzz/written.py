"""Plain data as the bytes of a file, in every form that the readers take."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import yaml

#: How a text file may begin and end its lines.
MARKS = ("", "\ufeff")
ENDS = ("\n", "\r\n", "\n\n", "\u2028")


def as_json(data: Any, *, plain: bool = True) -> bytes:
    """JSON with escapes, or with characters as they are (half characters are then no UTF-8)."""
    return json.dumps(data, ensure_ascii=plain).encode("utf-8", "surrogatepass")


def as_lines(rows: Sequence[Any], *, plain: bool = True, end: str = "\n") -> bytes:
    """JSON lines."""
    return end.encode().join(as_json(row, plain=plain) for row in rows) + end.encode()


def as_yaml(data: Any) -> bytes:
    """YAML in blocks; as JSON, which is YAML too, where it cannot be written so."""
    try:
        text = yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, UnicodeError, RecursionError):
        return as_json(data)
    return text.encode()


def as_csv(rows: Sequence[Any], delimiter: str = ",") -> bytes:
    """A table with the keys of the first row that has some as its head."""
    head = next((list(row) for row in rows if isinstance(row, dict)), ["prompt"])
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(head)
    for row in rows:
        writer.writerow([*row.values()] if isinstance(row, dict) else [row])
    return file.getvalue().encode("utf-8", "surrogatepass")


def as_parquet(rows: Sequence[Any]) -> bytes:
    """A Parquet file; rows that it cannot hold beside each other become texts."""
    rows = [row if isinstance(row, dict) else {"prompt": row} for row in rows]
    file = io.BytesIO()
    try:
        table = pa.Table.from_pylist(rows)
        parquet.write_table(table, file)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError):
        cells = [{"prompt": repr(row)} for row in rows]
        file = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(cells), file)
    return file.getvalue()


def as_rows(rows: Sequence[Any], suffix: str, *, plain: bool = True, end: str = "\n") -> bytes:
    """Rows in the form that ``suffix`` stands for."""
    form = suffix.removesuffix(".gz")
    if form in (".csv", ".tsv"):
        data = as_csv(rows, "\t" if form == ".tsv" else ",")
    elif form == ".json":
        data = as_json([*rows], plain=plain)
    elif form == ".parquet":
        data = as_parquet(rows)
    elif form == ".txt":
        data = end.join(str(row) for row in rows).encode("utf-8", "surrogatepass")
    else:
        data = as_lines(rows, plain=plain, end=end)
    return gzip.compress(data, 1, mtime=0) if suffix.endswith(".gz") else data
