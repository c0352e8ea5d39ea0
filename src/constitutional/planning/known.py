"""Shapes of models by name, for planning with what is not here.

From the ``config.json`` of each model on the Hugging Face hub; a test holds the parameters that
follow against the published counts. ``52B`` is the size of Bai et al. 2022, whose shape no paper
that was at hand prints: 64 layers whose width is 128 times that, a plain MLP of four times the
width, 64 heads and 2^16 words are ours, and give 52.1 billion parameters.
"""

from __future__ import annotations

from collections.abc import Mapping


def _shape(
    layers: int, width: int, inner: int, heads: int, kv_heads: int, vocabulary: int, **more: int
) -> dict[str, int]:
    sizes = {"layers": layers, "width": width, "inner": inner, "heads": heads}
    sizes |= {"kv_heads": kv_heads, "vocabulary": vocabulary, "head_size": width // heads}
    return sizes | more


_QWEN2 = {"qkv_bias": True}
_QWEN3 = {"qk_norm": True, "head_size": 128}
_QWEN25_05B = _shape(24, 896, 4864, 14, 2, 151936, tied=True, **_QWEN2)
_QWEN25_15B = _shape(28, 1536, 8960, 12, 2, 151936, tied=True, **_QWEN2)
_QWEN25_3B = _shape(36, 2048, 11008, 16, 2, 151936, tied=True, **_QWEN2)
_QWEN25_7B = _shape(28, 3584, 18944, 28, 4, 152064, **_QWEN2)
_QWEN25_14B = _shape(48, 5120, 13824, 40, 8, 152064, **_QWEN2)
_QWEN25_32B = _shape(64, 5120, 27648, 40, 8, 152064, **_QWEN2)
_QWEN25_72B = _shape(80, 8192, 29568, 64, 8, 152064, **_QWEN2)
_QWEN3_06B = _shape(28, 1024, 3072, 16, 8, 151936, tied=True, **_QWEN3)
_QWEN3_17B = _shape(28, 2048, 6144, 16, 8, 151936, tied=True, **_QWEN3)
_QWEN3_4B = _shape(36, 2560, 9728, 32, 8, 151936, tied=True, **_QWEN3)
_QWEN3_8B = _shape(36, 4096, 12288, 32, 8, 151936, **_QWEN3)
_QWEN3_14B = _shape(40, 5120, 17408, 40, 8, 151936, **_QWEN3)
_QWEN3_32B = _shape(64, 5120, 25600, 64, 8, 151936, **_QWEN3)
_LLAMA_1B = _shape(16, 2048, 8192, 32, 8, 128256, tied=True)
_LLAMA_3B = _shape(28, 3072, 8192, 24, 8, 128256, tied=True)
_LLAMA_8B = _shape(32, 4096, 14336, 32, 8, 128256)
_LLAMA_70B = _shape(80, 8192, 28672, 64, 8, 128256)
_MISTRAL_7B = _shape(32, 4096, 14336, 32, 8, 32768)
_GEMMA2_2B = _shape(26, 2304, 9216, 8, 4, 256000, tied=True, norms=4, head_size=256)
_GEMMA2_9B = _shape(42, 3584, 14336, 16, 8, 256000, tied=True, norms=4, head_size=256)
_GEMMA3_1B = _shape(26, 1152, 6912, 4, 1, 262144, tied=True, norms=4, head_size=256, qk_norm=True)

#: Fields of :class:`~.shape.ModelShape` by hub name or size.
KNOWN: Mapping[str, dict[str, int]] = {
    "Qwen/Qwen2.5-0.5B": _QWEN25_05B,
    "Qwen/Qwen2.5-0.5B-Instruct": _QWEN25_05B,
    "Qwen/Qwen2.5-1.5B": _QWEN25_15B,
    "Qwen/Qwen2.5-1.5B-Instruct": _QWEN25_15B,
    "Qwen/Qwen2.5-3B": _QWEN25_3B,
    "Qwen/Qwen2.5-3B-Instruct": _QWEN25_3B,
    "Qwen/Qwen2.5-7B": _QWEN25_7B,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN25_7B,
    "Qwen/Qwen2.5-14B": _QWEN25_14B,
    "Qwen/Qwen2.5-14B-Instruct": _QWEN25_14B,
    "Qwen/Qwen2.5-32B": _QWEN25_32B,
    "Qwen/Qwen2.5-32B-Instruct": _QWEN25_32B,
    "Qwen/Qwen2.5-72B": _QWEN25_72B,
    "Qwen/Qwen2.5-72B-Instruct": _QWEN25_72B,
    "Qwen/Qwen3-0.6B-Base": _QWEN3_06B,
    "Qwen/Qwen3-0.6B": _QWEN3_06B,
    "Qwen/Qwen3-1.7B-Base": _QWEN3_17B,
    "Qwen/Qwen3-1.7B": _QWEN3_17B,
    "Qwen/Qwen3-4B-Base": _QWEN3_4B,
    "Qwen/Qwen3-4B": _QWEN3_4B,
    "Qwen/Qwen3-8B-Base": _QWEN3_8B,
    "Qwen/Qwen3-8B": _QWEN3_8B,
    "Qwen/Qwen3-14B-Base": _QWEN3_14B,
    "Qwen/Qwen3-14B": _QWEN3_14B,
    "Qwen/Qwen3-32B": _QWEN3_32B,
    "meta-llama/Llama-3.2-1B": _LLAMA_1B,
    "meta-llama/Llama-3.2-1B-Instruct": _LLAMA_1B,
    "meta-llama/Llama-3.2-3B": _LLAMA_3B,
    "meta-llama/Llama-3.2-3B-Instruct": _LLAMA_3B,
    "meta-llama/Llama-3.1-8B": _LLAMA_8B,
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_8B,
    "meta-llama/Llama-3.1-70B": _LLAMA_70B,
    "meta-llama/Llama-3.1-70B-Instruct": _LLAMA_70B,
    "meta-llama/Llama-3.3-70B-Instruct": _LLAMA_70B,
    "mistralai/Mistral-7B-v0.3": _MISTRAL_7B,
    "mistralai/Mistral-7B-Instruct-v0.3": _MISTRAL_7B,
    "google/gemma-2-2b": _GEMMA2_2B,
    "google/gemma-2-2b-it": _GEMMA2_2B,
    "google/gemma-2-9b": _GEMMA2_9B,
    "google/gemma-2-9b-it": _GEMMA2_9B,
    "google/gemma-3-1b-pt": _GEMMA3_1B,
    "google/gemma-3-1b-it": _GEMMA3_1B,
    "52B": _shape(64, 8192, 32768, 64, 64, 65536, tied=True, gated=False),
}
