"""A PostgreSQL server of the tests' own, or the one that CONSTITUTIONAL_POSTGRES_URL names."""

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

import pytest

#: Set where all has to be there: nothing is skipped for want of a server or a browser.
IN_CI = os.environ.get("CONSTITUTIONAL_CI") == "1"


def absent(reason: str) -> None:
    """Skip with the reason; in CI fail."""
    if IN_CI:
        pytest.fail(f"CONSTITUTIONAL_CI=1 and {reason}")
    pytest.skip(reason)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a server with an empty database, for as long as the block lasts."""
    given = os.environ.get("CONSTITUTIONAL_POSTGRES_URL")
    if given is not None:
        yield given
        return
    folder = _programs()
    if folder is None:
        absent("there is no PostgreSQL (initdb) on this machine")
    assert folder is not None
    data = Path(tempfile.mkdtemp(prefix="constitutional-postgres-"))
    user = _somebody()
    if user is not None:
        os.chown(data, user.pw_uid, user.pw_gid)
    log = data / "log"

    def run(*command: str) -> None:
        done = subprocess.run(
            [str(folder / command[0]), *command[1:]],
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            cwd=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout

    run("initdb", "-D", f"{data}/db", "-U", "votes", "-A", "trust", "-E", "UTF8", "--no-sync")
    port = _free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    try:
        # not run(): the server would keep the pipe open
        subprocess.run(
            [folder / "pg_ctl", "start", "-w", "-D", data / "db", "-l", log, "-o", options],
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            cwd=data,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=True,
        )
        yield f"postgresql://votes@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", f"{data}/db", "-m", "immediate", "-w", "stop")
        shutil.rmtree(data, ignore_errors=True)


def _programs() -> Path | None:
    found = shutil.which("initdb")
    # Debian keeps them beside each other in a folder of the version
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


def _somebody() -> pwd.struct_passwd | None:
    """Whom the server runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
