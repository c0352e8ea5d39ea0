"""A PostgreSQL server of our own, for as long as it is needed, or the one that somebody names."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The URL of a server to use in place of one of our own.
GIVEN = "CONSTITUTIONAL_POSTGRES_URL"


def is_there() -> bool:
    """Whether there is a server to use, or a program to start one with."""
    return GIVEN in os.environ or _programs() is not None


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a server that answers, with its usual settings: every commit is flushed."""
    if GIVEN in os.environ:
        yield os.environ[GIVEN]
        return
    programs, somebody = _programs(), _somebody()
    assert programs is not None, "no initdb on this machine"
    folder = Path(tempfile.mkdtemp(prefix="constitutional-postgres-"))
    if somebody:
        os.chown(folder, somebody["user"], somebody["group"])
    data, port = folder / "data", free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"

    def run(program: str, *arguments: str) -> None:
        # into a file: the server would hold a pipe open
        with (folder / "log").open("ab") as log:
            command = [str(programs / program), "-D", str(data), *arguments]
            kept: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": folder, "timeout": 120}
            done = subprocess.run(command, **kept, **somebody)
        assert done.returncode == 0, (folder / "log").read_text()

    try:
        run("initdb", "-U", "votes", "-A", "trust", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "start", "-w", "-o", options)
        try:
            yield f"postgresql://votes@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _programs() -> Path | None:
    found = shutil.which("initdb")
    # Debian keeps them beside each other in a folder of the version
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "pg_ctl").exists()), None)


def _somebody() -> dict[str, int]:
    """Whom the server runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid}
    return {}
