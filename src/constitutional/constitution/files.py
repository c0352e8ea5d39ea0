"""Reading and writing constitutions. The format of a file is told by what is in it, not its name.

Every fault in a file ends as one ConstitutionFileError that names the file and, in YAML and JSON
syntax, the line.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from constitutional.archives import HEAD, packed, unpack_it
from constitutional.constitution import formats
from constitutional.constitution.few_shot_formats import FormatError
from constitutional.constitution.few_shots import ComparisonExample, CotExample, FewShots
from constitutional.constitution.principle import Constitution, Principle
from constitutional.documents import Document, LocatedError, explain, found, parse_yaml
from constitutional.errors import ConstitutionFileError, nearest

#: The name under which the packaged constitution is loaded.
DEFAULT = "default"
#: A constitution is a few kilobytes; a file beyond this is something else, given by mistake.
MAX_BYTES = 2 * 1024 * 1024

_T = TypeVar("_T")
#: What the records of a constitution are called in a sentence.
_NAMES: dict[type[BaseModel], str] = {
    Constitution: "a constitution",
    Principle: "a principle",
    FewShots: "few_shots",
    ComparisonExample: "a comparison example",
    CotExample: "a cot example",
}
_NATIVE_KEYS = "|".join(Constitution.model_fields)
_ITEM_KEYS = "|".join(Principle.model_fields)
#: A native key at the left margin, a document marker, an item of a list of records, or a lone
#: word with a colon: enough to say that a file was meant as YAML, even if it holds mistakes.
_LOOKS_YAML = re.compile(
    rf"^(?:(?:{_NATIVE_KEYS})[ \t]*:(?:\s|$)|---|%YAML|-[ \t]+(?:{_ITEM_KEYS}):|\w+:[ \t]*$)",
    re.MULTILINE,
)


def load_constitution(path: str | Path) -> Constitution:
    """Read a constitution of any known format; the name ``default`` gives the packaged one.

    Raises ConstitutionFileError. A file that is itself called ``default`` is read as ``./default``.
    """
    if path == DEFAULT:
        return default_constitution()
    return _guarded(path, lambda: _parse(_read(path), Path(path).stem))


@functools.cache
def default_constitution() -> Constitution:
    """The constitution that comes with the package."""
    text = resources.files(__package__).joinpath("default.yaml").read_text(encoding="utf-8")
    return _parse(text, DEFAULT)


def read_few_shots(path: str | Path) -> FewShots:
    """Read the few-shot examples of a file: one of examples only, or a constitution with some."""
    return _guarded(path, lambda: _few_shots(_read(path), path))


def save_constitution(
    constitution: Constitution, path: str | Path, format: str | None = None
) -> None:
    """Write a constitution: ``yaml`` (the default, complete), ``text``, or a foreign format.

    Formats other than YAML hold a part of a constitution only; see :mod:`.formats`.
    """

    def write() -> None:
        Path(path).write_bytes(_dump(constitution, format or "yaml").encode("utf-8"))

    _guarded(path, write)


def dump_constitution(constitution: Constitution, format: str = "yaml") -> str:
    """The text that :func:`save_constitution` writes."""
    try:
        return _dump(constitution, format)
    except FormatError as error:
        raise ConstitutionFileError(str(error)) from None


def _dump(constitution: Constitution, format: str) -> str:
    if format == "yaml":
        return _yaml(constitution)
    if format == "text":
        return _lines(constitution)
    for known in get_args(formats.Format):
        if format == known:
            return formats.export(constitution, known)
    raise FormatError(
        f"unknown format {format!r}; {nearest(format, ['yaml', 'text', *formats.FORMATS])}"
    )


def _guarded(path: str | Path, action: Callable[[], _T]) -> _T:
    """Run ``action``; whatever is wrong with the file becomes a ConstitutionFileError."""
    try:
        return action()
    except LocatedError as error:
        raise ConstitutionFileError(error.sentence, path=path, line=error.line) from None
    except FormatError as error:
        raise ConstitutionFileError(str(error), path=path) from None
    except FileNotFoundError:
        raise ConstitutionFileError("there is no such file", path=path) from None
    except IsADirectoryError:
        raise ConstitutionFileError("expected a file, found a folder", path=path) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConstitutionFileError(f"cannot be opened ({reason})", path=path) from None


def _read(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if kind := packed(data[:HEAD]):
        raise FormatError(unpack_it(kind))
    if len(data) > MAX_BYTES:
        raise FormatError(f"larger than {MAX_BYTES // 1024**2} MiB; expected a constitution")
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise LocatedError("expected text in UTF-8, found binary data", line)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LocatedError("expected text in UTF-8, found other bytes", line) from None


def _parse(text: str, name: str) -> Constitution:
    if not text.strip():
        raise FormatError("the file is empty; expected principles, one a line, or YAML")
    if _is_json(text):
        data = _json(text)
        if not _is_native(data):
            return _checked(lambda: formats.parse_constitution(data, name), Document(data))
        return _native(text, name)
    if formats.JUDGE_FENCE in text:
        return _checked(lambda: formats.read_judge_prompt(text, name), Document(text))
    return _native(text, name) if _LOOKS_YAML.search(text) else _plain(text, name)


def _few_shots(text: str, path: str | Path) -> FewShots:
    if _is_json(text):
        data = _json(text)
        few_shots = _checked(lambda: formats.parse_few_shots(data), Document(data))
        if few_shots is not None:
            return few_shots
    few_shots = _parse(text, Path(path).stem).few_shots
    if few_shots == FewShots():
        raise FormatError("expected few-shot examples, found a constitution without any")
    return few_shots


def _checked(build: Callable[[], _T], document: Document) -> _T:
    try:
        return build()
    except ValidationError as error:
        raise explain(error, document, Constitution, _NAMES) from None


def _native(text: str, name: str) -> Constitution:
    document = parse_yaml(text)
    if not isinstance(document.data, dict):
        raise LocatedError(
            f"expected the keys name and principles, found {found(document.data)}",
            document.line(()),
        )
    record = {"name": name, **document.data}
    return _checked(lambda: Constitution.model_validate(record), document)


def _plain(text: str, name: str) -> Constitution:
    texts = _plain_texts(text)
    if not texts:
        raise FormatError("no principle in it: every line is blank or a comment")
    principles = tuple(Principle(id=f"p{i}", text=t) for i, t in enumerate(texts, start=1))
    return Constitution(name=name, principles=principles)


def _plain_texts(text: str) -> list[str]:
    """One principle a line; a leading ``- `` is a bullet and no part of the principle."""
    lines = [line.strip().removeprefix("- ").strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


# JSON


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def _is_native(data: Any) -> bool:
    return isinstance(data, dict) and "principles" in data


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        raise LocatedError(
            f"this is not valid JSON ({error.msg.lower()}); "
            "a file that begins with { or [ is read as JSON",
            error.lineno,
        ) from None
    except RecursionError:
        raise FormatError("nested too deeply; expected a constitution") from None
    except FormatError:
        raise
    except ValueError:  # a number of thousands of digits
        raise FormatError("a number in it is too long; expected a constitution") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise FormatError(f"the key {double!r} is given twice")
    return data


# Writing


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and no anchors for texts that occur twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Line breaks other than \n would be read back as \n from anything but an escaped text.
    escaped = any(mark in text for mark in "\r\x85\u2028\u2029")
    style = '"' if escaped else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _yaml(constitution: Constitution) -> str:
    record = constitution.model_dump(mode="json", exclude_defaults=True)
    return yaml.dump(record, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _lines(constitution: Constitution) -> str:
    for i, principle in enumerate(constitution.principles, start=1):
        # Read each line back: a text of two lines, or one that begins with # or -, would change.
        if not _survives(principle.text):
            raise FormatError(f"principle {i} cannot be written as a line of plain text")
    return "".join(f"{p.text}\n" for p in constitution.principles)


def _survives(text: str) -> bool:
    if _is_json(text) or _LOOKS_YAML.search(text) or formats.JUDGE_FENCE in text:
        return False
    return _plain_texts(text) == [text]
