"""The microworld: a language small enough to check, a tiny model of it, and an oracle.

It is the embedded default and the test bench, never the product: it enters the stages through a
model folder, a tokenizer, prompt files, a constitution file, and an oracle that is one more judge.
"""

from __future__ import annotations

from pathlib import Path

from constitutional.errors import InputError, nearest

_DATA = Path(__file__).parent / "data"


def data_file(name: str) -> Path:
    """A file or folder that ships with the microworld, such as ``constitution.yaml``.

    The models are ``pretrained`` and ``helpful``, which are of the size base, and those of another
    size that ships: ``small/pretrained``, say. Raises InputError for what is not there.
    """
    path = _DATA / name
    if not path.resolve().is_relative_to(_DATA.resolve()) or not path.exists():
        known = sorted(
            {p.relative_to(_DATA).as_posix() for p in (*_DATA.iterdir(), *model_folders())}
        )
        raise InputError(f"the microworld has no {name!r}; {nearest(name, known)}")
    return path


def model_folders() -> list[Path]:
    """The folders of all models that ship, of every size."""
    return sorted(config.parent for config in _DATA.rglob("config.json"))
