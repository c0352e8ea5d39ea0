"""People compare answers blindly: pairs, raters and votes in a database, and what the votes say."""

from importlib.util import find_spec

from constitutional.errors import MissingExtraError

for _package in ("sqlalchemy", "alembic"):
    if find_spec(_package) is None:
        raise MissingExtraError(_package, "web", "the arena")
