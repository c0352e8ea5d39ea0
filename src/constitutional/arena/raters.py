"""Who votes: people with a name, known by a secret token that a link carries."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata

from sqlalchemy import bindparam, select

from constitutional.arena.database import Database
from constitutional.arena.records import Rater
from constitutional.arena.schema import RaterRow, now
from constitutional.errors import InputError

LONGEST_NAME = 80

_BY_TOKEN = select(RaterRow.id, RaterRow.name).where(RaterRow.token == bindparam("token"))


def invite(database: Database, name: str) -> str:
    """Make a rater and return the token, which is not kept and cannot be shown again.

    Raises InputError for a name that is empty, too long, unprintable or taken.
    """
    name = _checked(name)
    token = secrets.token_urlsafe(24)
    row = {"name": name, "token": _digest(token), "at": now()}
    with database.writing() as connection:
        if not database.insert_new(connection, RaterRow, row):
            raise InputError(f"a rater is called {name!r} already: take another name")
    return token


def find_rater(database: Database, token: str | None) -> Rater | None:
    """Whose token it is; None for nobody's."""
    if not token:
        return None
    with database.reading() as connection:
        row = connection.execute(_BY_TOKEN, {"token": _digest(token)}).one_or_none()
    return None if row is None else Rater(row.id, row.name)


def _checked(name: str) -> str:
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(
            f"a rater needs a name of 1 to {LONGEST_NAME} printable characters, found {name!r:.40}"
        )
    return name


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).hexdigest()
