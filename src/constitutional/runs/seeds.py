"""Seeds: one run seed, from which every draw derives its own by name."""

from __future__ import annotations

import hashlib


def derive_seed(run_seed: int, *names: str | int) -> int:
    """A 63-bit seed for the draw that ``names`` describe, e.g. ("critique", record id, round).

    It depends on nothing else, so that order, batches and workers change no draw.
    """
    key = "\x1f".join(str(name) for name in (run_seed, *names))
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()[:8]) >> 1
