"""Constitutions: what they are, the files they come in, and the default one."""

from constitutional.constitution.files import (
    default_constitution,
    load_constitution,
    read_few_shots,
    save_constitution,
)
from constitutional.constitution.principle import Constitution, Principle, merge

__all__ = [
    "Constitution",
    "Principle",
    "default_constitution",
    "load_constitution",
    "merge",
    "read_few_shots",
    "save_constitution",
]
