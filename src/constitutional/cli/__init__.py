"""The command line. Heavy libraries are imported inside the commands, so that help is instant."""

from __future__ import annotations

import sys

from constitutional.errors import ConstitutionalError


def main() -> None:
    """Run ``cai``; an error that we raise on purpose is one sentence and exit code 2."""
    from constitutional.cli.app import app

    try:
        app(prog_name="cai", standalone_mode=True)
    except ConstitutionalError as error:
        # it may quote a file, and holds nothing that a terminal would obey
        print(f"cai: {error}", file=sys.stderr)
        raise SystemExit(2) from None
