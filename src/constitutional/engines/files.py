"""What a model is made of, told by its files, without loading it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from constitutional.engines.adapter_folders import base_of, is_adapter_folder

_READ = {".json", ".jinja", ".safetensors"}


def files_hash(model: str) -> str:
    """A hash of a model folder's files, and of adapters' base; of a hub name, the name alone.

    The files behind a hub name are not here yet.
    """
    folder = Path(model)
    digest = hashlib.sha256()
    if is_adapter_folder(folder):
        digest.update(files_hash(base_of(folder)).encode())
    if not folder.is_dir():
        return f"hub:{model}"
    for path in sorted(p for p in folder.iterdir() if p.suffix in _READ):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
