"""GPUs: what they can do at best, by their makers' data sheets.

Dense rates, without the sparsity that data sheets like to count: NVIDIA's data sheets of the A100
(2021), H100 SXM (2023), H200, HGX B200 (per GPU), L4, L40S and A10, the white papers of the Ampere
GA102 and Ada architectures for the two RTX cards (16-bit products summed in float32), and AMD's
data sheet of the MI300X.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from constitutional.errors import InputError, nearest


class GPU(BaseModel):
    """One GPU: memory in bytes, bytes and floating-point operations a second at best."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    memory: float
    bandwidth: float
    bf16: float
    float32: float
    #: A processor in a GPU's place: it computes in float32 and has no autocast.
    cpu: bool = False


class GPUs(BaseModel):
    """So many GPUs of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: GPU
    count: int


#: name: (GB, GB/s, TFLOP/s in bfloat16, TFLOP/s in float32 without tensor cores)
_SHEETS: Mapping[str, tuple[float, float, float, float]] = {
    "A100-40GB": (40, 1555, 312, 19.5),
    "A100": (80, 2039, 312, 19.5),
    "H100": (80, 3350, 989.4, 66.9),
    "H200": (141, 4800, 989.4, 66.9),
    "B200": (180, 8000, 2250, 75),
    "L4": (24, 300, 121, 30.3),
    "L40S": (48, 864, 362, 91.6),
    "A10": (24, 600, 125, 31.2),
    "RTX3090": (24, 936, 71, 35.6),
    "RTX4090": (24, 1008, 165.2, 82.6),
    "MI300X": (192, 5300, 1307, 163.4),
}
#: A laptop of 16 GB with eight cores of 3 GHz that add and multiply 16 numbers a cycle (AVX2), and
#: two channels of DDR4-3200: what its parts can do at best, and no data sheet's figure.
_LAPTOP = GPU(
    name="laptop-CPU", memory=16e9, bandwidth=51.2e9, bf16=0.768e12, float32=0.768e12, cpu=True
)

GPU_TABLE: Mapping[str, GPU] = {
    name: GPU(name=name, memory=gb * 1e9, bandwidth=gbs * 1e9, bf16=bf16 * 1e12, float32=f32 * 1e12)
    for name, (gb, gbs, bf16, f32) in _SHEETS.items()
} | {_LAPTOP.name: _LAPTOP}

#: The share of a GPU's memory that a run can fill: the driver, the context of CUDA and what lies
#: unused between allocations take the rest.
USABLE = 0.9


def parse_gpus(text: str) -> GPUs:
    """``H100:8`` is eight of them and ``H100`` one. Raises InputError."""
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9 -]*?)(?::([0-9]+))?", text.strip())
    if match is None or match[2] == "0":
        raise InputError(f"--gpu takes a kind and a number, such as H100:8, found {text!r}")
    by_key = {_key(name): gpu for name, gpu in GPU_TABLE.items()}
    if (gpu := by_key.get(_key(match[1]))) is None:
        hint = nearest(match[1].upper(), GPU_TABLE)
        raise InputError(f"--gpu: no GPU {match[1]!r} in the table; {hint}")
    return GPUs(gpu=gpu, count=int(match[2] or 1))


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
