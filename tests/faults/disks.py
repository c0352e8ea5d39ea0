"""A disk that is full, and one that is read-only: small file systems in memory."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.tally import Tally
from tests.faults.world import World, check, safe_blocks


class NoMountError(Exception):
    """Mounting is not allowed here."""


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """A file system of ``size`` bytes. Raises NoMountError."""
    folder.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoMountError from error
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full(world: World, tries: int, seed: int) -> Tally:
    """A disk that is full again and again, and gets room each time, until the run is done."""
    chance, tally, runs = random.Random(seed), Tally(), 0
    whole = sum(p.stat().st_size for p in world.reference.rglob("*") if p.is_file())
    while tally.tries < tries:
        runs += 1
        disk, size = world.new(f"full-{runs}"), 1 << 16
        with mounted(disk, size):
            filled = False
            while True:
                safe = safe_blocks(disk / "run")
                ended = world.run(disk / "run")
                if filled:
                    tally.went_on(ended, safe)
                if ended.code == 0 and not ended.signal:
                    break
                check(ended.code == 2 and not ended.signal, f"a full disk:\n{ended.told}")
                check("no space is left on the disk" in ended.told, ended.told)
                check("Traceback" not in ended.told, ended.told)
                filled = True
                tally.tried(ended.stage)
                size += round(chance.uniform(0, 2 * whole / max(tries, 6)))
                _remount(disk, f"size={size}")
            tally.compare(world, disk / "run")
    return tally


def read_only(world: World, tries: int, seed: int) -> Tally:
    """A run that was killed meets a disk that became read-only, then one that can be written."""
    chance, tally = random.Random(seed), Tally()
    disk = world.new("read-only")
    with mounted(disk, 1 << 30):
        for _ in range(tries):
            process = world.start(disk / "run")
            time.sleep(chance.uniform(0, 2 * world.seconds / tries))
            if not process.over():
                process.kill()
            process.wait()
            _remount(disk, "ro")
            ended = world.run(disk / "run")
            said = "the disk is read-only" in ended.told and "Traceback" not in ended.told
            check(ended.code == 2 and said, f"a read-only disk, {ended.code}:\n{ended.told}")
            tally.tried(ended.stage)
            _remount(disk, "rw")
        safe = safe_blocks(disk / "run")
        tally.went_on(world.finish(disk / "run"), safe)
        tally.compare(world, disk / "run")
    return tally


def _remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)
