"""YAML with line numbers: a document as plain data, and sentences that point into it.

The document is composed to nodes and not loaded, because nodes know their lines. Anchors, aliases,
tags and deep nesting are refused while the events go by, before anything is built, so that a small
file cannot grow large in memory.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from constitutional.errors import nearest
from constitutional.refusal import REFUSED

_MAX_DEPTH = 16
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Location = tuple[str | int, ...]


class LocatedError(ValueError):
    """A fault in a document, with its 1-based line where known."""

    def __init__(self, sentence: str, line: int | None = None):
        self.sentence, self.line = sentence, line
        super().__init__(sentence)


@dataclass
class Document:
    """Plain data, and the line of each place in it."""

    data: Any
    lines: dict[Location, int] = field(default_factory=dict)

    def line(self, location: Location) -> int | None:
        """The line of the deepest known place on the way to ``location``.

        Parts that the file does not have (a turn is one mapping in a file but two fields in the
        record) are passed over.
        """
        place: Location = ()
        for part in location:
            if (*place, part) in self.lines:
                place = (*place, part)
        return self.lines.get(place)


def parse_yaml(text: str) -> Document:
    """Read one YAML document; raises LocatedError with the line of the fault."""
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, max(error.position, 0)) + 1
        raise LocatedError("a control character that YAML does not allow", line) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(text, error) from None
    document = Document(None)
    if node is not None:
        document.data = _build(node, (), document.lines)
    return document


def _check_events(text: str) -> None:
    depth = documents = 0
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None):
            raise LocatedError(
                "anchors (&) and aliases (*) are not allowed; write the text out, "
                "in quotes if it begins with one of these characters",
                line,
            )
        if getattr(event, "tag", None):
            raise LocatedError(
                f"tags such as {event.tag!r} are not allowed; quote text that begins with !",
                line,
            )
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise LocatedError("expected one YAML document, found a second after '---'", line)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise LocatedError(f"nested more than {_MAX_DEPTH} levels deep", line)


def _syntax_error(text: str, error: yaml.MarkedYAMLError) -> LocatedError:
    mark = error.problem_mark or error.context_mark
    number = None if mark is None else mark.line + 1
    for index, line in enumerate(text.splitlines(), start=1):
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent and (number is None or index <= number):
            return LocatedError("a tab in the indentation; YAML needs blanks there", index)
    problem = error.problem or error.context or "it cannot be parsed"
    return LocatedError(
        f"this is not valid YAML ({problem}); text with ': ' or ' #' in it needs quotes", number
    )


def _build(node: Any, at: Location, lines: dict[Location, int]) -> Any:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*at, i), lines) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node)
    data: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise LocatedError("a key must be one word", line)
        if key.value in data:
            raise LocatedError(f"the key {key.value!r} is given twice", line)
        lines[(*at, key.value)] = line
        data[key.value] = _build(value, (*at, key.value), lines)
    return data


def _scalar(node: Any) -> Any:
    kind = node.tag.rsplit(":", 1)[-1]
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() in ("yes", "true", "on")
    if kind == "timestamp":
        return _date(node.value)
    if kind in ("int", "float"):
        return _number(node.value)
    return node.value


def _date(text: str) -> datetime.date:
    """A day; of a day with a time, or one that no month has, only the kind is ever shown."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return datetime.datetime.max


def _number(text: str) -> float | int | str:
    plain = text.replace("_", "").lower()
    for convert in (int, float):
        try:
            return convert(plain)
        except ValueError:
            continue
    special = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
    # Octal, hexadecimal and sexagesimal numbers have no place here; they stay text and are refused.
    return float(special[plain]) if plain in special else text


Names = Mapping[type[BaseModel], str]


def explain(
    error: ValidationError, document: Document, model: type[BaseModel], names: Names
) -> LocatedError:
    """One sentence, with its line, for the first fault that pydantic found.

    ``model`` is what the document was to be; ``names`` says what each record in it is called. An
    unknown key comes first, since a misspelt key also shows up as a missing one.
    """
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    at = tuple(fault["loc"]) + tuple(fault.get("ctx", {}).get("at", ()))
    return LocatedError(_sentence(fault, model, names), document.line(at))


def _record(location: Location, model: type[BaseModel], names: Names) -> tuple[str, list[str]]:
    """What the record at ``location`` is called, and its keys."""
    label, mapping = "", False
    among = [model]
    for part in (part for part in location if isinstance(part, str)):
        field = among[0].model_fields.get(part)
        if mapping:  # the key of a mapping of records
            label, mapping = part, False
        elif tagged := [kind for kind in among if len(among) > 1 and part in _tags(kind)]:
            among = tagged
        elif field is None or not (inner := _models_in(field.annotation)):
            return "the record", []
        else:
            among, label, mapping = inner, part, get_origin(field.annotation) is dict
    return names.get(among[0], f"section {label!r}"), list(among[0].model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The record classes that an annotation such as ``tuple[Record, ...] | None`` is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _tags(model: type[BaseModel]) -> set[Any]:
    """The fixed texts in a record, by one of which it is told from others in its place."""
    fields = model.model_fields.values()
    return {word for f in fields for word in get_args(f.annotation) if isinstance(word, str)}


def _sentence(fault: ErrorDetails, model: type[BaseModel], names: Names) -> str:
    location, kind, value = fault["loc"], fault["type"], fault["input"]
    label = next((part for part in reversed(location) if isinstance(part, str)), "the file")
    name, keys = _record(location[:-1], model, names)
    context = fault.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key {label!r} in {name}; {nearest(label, keys)}"
    if kind == "missing":
        return f"{name} needs the key {label!r}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        tags = str(context.get("expected_tags", "")).replace("'", "")
        key = str(context["discriminator"]).strip("'")
        if kind == "union_tag_not_found":
            return f"{label!r} needs the key {key!r}"
        return f"{key!r} of {label!r} must be one of {tags}, found {found(context['tag'])}"
    if kind == "literal_error":
        hint = "; " + nearest(value, _choices(context)) if isinstance(value, str) else ""
        return f"{label!r} must be {context['expected']}, found {found(value)}{hint}"
    if kind == "string_type":
        return f"{label!r} must be text, found {found(value)}{_quotes(value)}"
    if bound := _bound(kind, context):
        return f"{label!r} must be {bound}, found {found(value)}"
    if kind == "tuple_type":
        return f"{label!r} must be a list, found {found(value)}"
    if kind in ("model_type", "model_attributes_type"):
        name, keys = _record(location, model, names)
        return f"expected {name}, with keys such as {', '.join(keys[:3])}, found {found(value)}"
    if kind == REFUSED:
        return str(context["sentence"])
    return f"{label!r}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"


def _bound(kind: str, context: Mapping[str, Any]) -> str:
    """What a number should have been; empty when the fault is of another kind."""
    if kind in ("float_type", "float_parsing", "finite_number"):
        return "a number"
    if kind in ("int_type", "int_parsing", "int_from_float"):
        return "a whole number"
    if kind == "greater_than":
        return f"a number above {context['gt']:g}"
    if kind == "greater_than_equal":
        return f"{context['ge']:g} or more"
    if kind == "bool_type":
        return "yes or no"
    return ""


def _choices(context: dict[str, Any]) -> list[str]:
    return [part for part in str(context["expected"]).split("'") if part.strip(" ,or")]


def _quotes(value: Any) -> str:
    plain = isinstance(value, bool | int | float | datetime.date)
    return "; put it in quotes" if plain else ""


def found(value: Any) -> str:
    """What a value of a document is, in a word or two."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a yes-or-no value"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "...")
    names = {list: "a list", dict: "a mapping", datetime.date: "a date"}
    return names.get(type(value), "something else")
