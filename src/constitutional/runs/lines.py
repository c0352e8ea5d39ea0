"""One record as one line of JSON, and back.

The canonical line is pydantic's ``model_dump_json``: UTF-8, no blanks, fields in the order of the
class. A language model's output may hold lone surrogates, which UTF-8 cannot carry; such a record
is written with each of them as a JSON escape (``\\ud800``), which keeps the file valid UTF-8 and
readable by other tools, and they come back as they were. (A high surrogate directly followed by a
low one *is* a character in JSON, and comes back as that character.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from constitutional.errors import RunFolderError

R = TypeVar("R", bound=BaseModel)

_SURROGATE = re.compile("[\ud800-\udfff]")


def encode(record: BaseModel) -> bytes:
    """The canonical line of ``record``, its newline included."""
    try:
        text = record.model_dump_json()
    except PydanticSerializationError:
        text = escaped(
            json.dumps(record.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))
        )
    return text.encode() + b"\n"


def encode_checked(record: R, record_type: type[R]) -> bytes:
    """Like :func:`encode`, but refuses a record that would not come back as it is.

    A field that JSON cannot carry (NaN in a plain float, an excluded field, a subclass) would show
    only when the run is resumed; here the first such record stops the stage.
    """
    line = encode(record)
    try:
        back = decode(line, record_type)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunFolderError(
            f"a {record_type.__name__} cannot be stored: {where}: {first['msg']}"
        ) from error
    # repr stands in for equality where NaN is stored on purpose; joined surrogates differ in both
    same = back == record or repr(back) == repr(record) or _holds_surrogates(record)
    if not same or encode(back) != line:
        raise RunFolderError(
            f"a {record_type.__name__} cannot be stored: it does not come back as it was"
        )
    return line


def decode(line: bytes, record_type: type[R]) -> R:
    """The record of one line; raises pydantic's ValidationError."""
    try:
        return record_type.model_validate_json(line)
    except ValidationError:
        if not _has_surrogates(line):
            raise
        return record_type.model_validate(json.loads(line))


def fingerprint_of(items: Iterable[object]) -> str:
    """Hex sha256 over any number of models, dataclasses, or plain JSON data."""
    digest = sha256()
    for item in items:
        plain = to_jsonable_python(item)
        digest.update(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def _holds_surrogates(record: BaseModel) -> bool:
    try:
        record.model_dump_json()
    except PydanticSerializationError:
        return True
    return False


def _has_surrogates(line: bytes) -> bool:
    return re.search(rb"\\u[dD][89a-fA-F]", line) is not None


def escaped(text: str) -> str:
    """JSON as :func:`json.dumps` gives it with characters as they are, but halves as escapes."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", joined)
