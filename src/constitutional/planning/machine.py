"""What this machine has, asked without loading anything heavy: the record of ``cai doctor``."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

PACKAGE = "constitutional"
#: Seconds that the hub and nvidia-smi have to answer.
PATIENCE = 1.0

#: What each extra of ``pyproject.toml`` is for; ``dev`` is for developers and not shown.
ENABLES: Mapping[str, str] = {
    "lora": "finetuning with low-rank adapters",
    "quant": "models in 4 bits, to answer with and as the base of adapters",
    "data": "prompts from Hugging Face data sets and Parquet files",
    "openai": "models behind an OpenAI-compatible server",
    "notebook": "the records of a run as data frames",
    "web": "runs in a browser, chat and the arena",
    "postgres": "votes in PostgreSQL",
    "serve": "the preference model as a reward service for OpenRLHF and verl",
    "ray": "data stages and trainings on a Ray cluster",
    "trl": "DPO, RLOO and GRPO in place of PPO",
    "vllm": "sampling and labels on GPUs with vLLM",
}

HubState = Literal["reachable", "not reachable", "switched off by HF_HUB_OFFLINE"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FoundGPU(_Record):
    """A GPU as its driver names it; memory in bytes."""

    name: str
    memory: float


class Extra(_Record):
    """Optional packages: those that are there with their versions, and those that are missing."""

    name: str
    enables: str
    installed: dict[str, str]
    missing: tuple[str, ...]
    install: str


class Machine(_Record):
    """Bytes where nothing else is said. ``memory`` is None where the system does not tell."""

    python: str
    system: str
    package: str
    cores: int
    memory: float | None
    free_disk: float
    gpus: tuple[FoundGPU, ...]
    accelerator: str
    hub: HubState
    libraries: dict[str, str | None]
    extras: tuple[Extra, ...]


def look() -> Machine:
    """Ask the system, the package's metadata and the hub; takes at most about two seconds."""
    gpus = found_gpus()
    torch = version("torch")
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        package=version(PACKAGE) or "not installed",
        cores=cores(),
        memory=memory_bytes(),
        free_disk=shutil.disk_usage(Path.cwd()).free,
        gpus=gpus,
        accelerator=_accelerator(gpus, torch),
        hub=hub(),
        libraries={name: version(name) for name in ("torch", "transformers", "accelerate")},
        extras=tuple(extras()),
    )


def cores() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def memory_bytes() -> float | None:
    """The machine's memory, or the control group's limit where that is less."""
    try:
        whole = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return None
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            whole = min(whole, float(Path(limit).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return whole


def found_gpus() -> tuple[FoundGPU, ...]:
    """NVIDIA's, by the driver's own tool; none where there is no tool or it does not answer."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return ()
    asked = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [line.rsplit(",", 1) for line in done.stdout.splitlines() if "," in line]
    return tuple(
        FoundGPU(name=name.strip(), memory=float(mib) * 2**20)
        for name, mib in rows
        if mib.strip().isdigit()
    )


def hub() -> HubState:
    """Whether the Hugging Face hub answers in time; not asked where it is switched off."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "switched off by HF_HUB_OFFLINE"
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    answered: list[bool] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=PATIENCE):
                answered.append(True)
        except urllib.error.HTTPError:
            answered.append(True)
        except (OSError, ValueError):
            return

    # looking up a name has no time limit of its own
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return "reachable" if answered else "not reachable"


def version(package: str) -> str | None:
    """The installed version; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def extras() -> list[Extra]:
    """The extras that the package's metadata name, with what is there of each."""
    try:
        requirements = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    packages: dict[str, list[str]] = {}
    for requirement in requirements:
        named = re.match(r"[A-Za-z0-9._-]+", requirement)
        marked = re.search(r"""extra\s*==\s*["']([^"']+)["']""", requirement)
        if named and marked and marked[1] != "dev":
            packages.setdefault(marked[1], []).append(named[0])
    return [_extra(name, needed) for name, needed in sorted(packages.items())]


def _extra(name: str, needed: list[str]) -> Extra:
    versions = {package: version(package) for package in needed}
    return Extra(
        name=name,
        enables=ENABLES.get(name, "see docs/dependencies.md"),
        installed={package: found for package, found in versions.items() if found},
        missing=tuple(package for package, found in versions.items() if not found),
        install=f"pip install '{PACKAGE}[{name}]'",
    )


def _accelerator(gpus: tuple[FoundGPU, ...], torch: str | None) -> str:
    if torch is None:
        return "none: torch is not installed"
    if not gpus:
        return "none: models run on the CPU"
    if torch.endswith("+cpu"):
        return f"none: torch {torch} is a build for the CPU, and there are {len(gpus)} GPUs"
    return f"cuda: {len(gpus)} GPUs"
