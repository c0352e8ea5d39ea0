"""Cases that were faults once, as files of JSON in ``found/``: a target, what it was, the case."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.pages import Asked
from tests.fuzz.readers import File
from tests.fuzz.words import Written

FOUND = Path(__file__).parent / "found"


class Kept(NamedTuple):
    """A case that was a fault of this target, and what kind."""

    name: str
    target: str
    was: str
    case: Any


def kept() -> list[Kept]:
    """All of them."""
    return [_read(file) for file in sorted(FOUND.glob("*.json"))]


def counts() -> Counter[str]:
    """How many there are of each target."""
    return Counter(each.target for each in kept())


def keep(name: str, target: str, was: str, case: Any) -> None:
    """Add one. Bytes are kept as Latin-1, in which each is a character."""
    kind = type(case).__name__ if isinstance(case, File | Asked | Written) else "plain"
    record = {"target": target, "was": was, "kind": kind, "case": _plain(case)}
    (FOUND / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def _plain(case: Any) -> Any:
    if isinstance(case, bytes):
        return {"bytes": case.decode("latin-1")}
    if isinstance(case, File | Asked | Written):
        return {key: _plain(value) for key, value in case._asdict().items()}
    return case


def _read(file: Path) -> Kept:
    record = json.loads(file.read_text())
    case = record["case"]
    kinds: dict[str, Any] = {"File": File, "Asked": Asked, "Written": Written}
    if record["kind"] in kinds:
        fields = {key: _whole(value) for key, value in case.items()}
        case = kinds[record["kind"]](**fields)
    return Kept(file.stem, record["target"], record["was"], _whole(case))


def _whole(case: Any) -> Any:
    if isinstance(case, dict) and set(case) == {"bytes"}:
        return case["bytes"].encode("latin-1")
    if isinstance(case, list):
        return tuple(tuple(each) if isinstance(each, list) else each for each in case)
    return case
