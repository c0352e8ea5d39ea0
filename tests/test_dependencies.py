"""What is installed is locked, hashed, and has a reason that is written down."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", re.MULTILINE)


def required() -> dict[str, set[str]]:
    """The packages that each part of pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parts = {"always": project["dependencies"], **project["optional-dependencies"]}
    return {
        part: {re.split(r"[\[<>=! ]", requirement)[0] for requirement in requirements}
        for part, requirements in parts.items()
    }


def pinned(text: str) -> dict[str, str]:
    """The versions by the names of packages, which may be spelt in several ways."""
    return {re.sub("[-_.]+", "-", name).lower(): at for name, at in PINNED.findall(text)}


def test_every_dependency_has_its_reason() -> None:
    document = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    first_cells = " ".join(re.findall(r"^\| ([^|]+) \|", document, re.MULTILINE))
    explained = set(re.split(r"[,\s]+|\[[^\]]*\]", first_cells))
    asked = set().union(*required().values())
    assert len(asked) > 30
    assert asked - explained == set()


def test_every_locked_version_has_its_hashes() -> None:
    locked, hashed = (
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("constraints.txt", "constraints-hashed.txt")
    )
    assert pinned(hashed) == pinned(locked), "run scripts/lock"
    for entry in re.split(r"\n(?=\S)", hashed)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry[:80]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-hashed.txt"])
def test_what_is_locked_comes_from_no_place_of_its_own(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://| @ |^-|--(?:extra-)?index|--find-links", text, re.MULTILINE)
