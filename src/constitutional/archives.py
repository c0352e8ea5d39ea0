"""Archives, by how they begin: they are refused wherever a file of texts is read, and never opened.

A small archive can hold more than a disk does. One file alone in gzip is no archive; prompts may
come so, and are read line by line.
"""

from __future__ import annotations

#: So many bytes of a file are enough to tell.
HEAD = 265
_MARKS = (
    (0, b"PK\x03\x04", "zip archive (or an office document)"),
    (0, b"PK\x05\x06", "zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (0, b"Rar!\x1a\x07", "rar archive"),
    (0, b"BZh", "file packed by bzip2"),
    (0, b"\xfd7zXZ\x00", "file packed by xz"),
    (0, b"\x28\xb5\x2f\xfd", "file packed by zstd"),
    (257, b"ustar", "tar archive"),
)
_GZIP = b"\x1f\x8b"


def packed(head: bytes, *, gzip: bool = False) -> str | None:
    """What kind of archive begins with ``head``; None for other files, and where ``gzip`` may be
    for such a file.
    """
    if head.startswith(_GZIP) and not gzip:
        return "file packed by gzip"
    found = (name for at, mark, name in _MARKS if head[at : at + len(mark)] == mark)
    return next(found, None)


def unpack_it(kind: str) -> str:
    """The sentence that refuses one."""
    return f"this is a {kind}, which is not opened: unpack it, and name the file in it"
