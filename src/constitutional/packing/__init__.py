"""Several texts as one row of tokens, without padding, and with shared beginnings once.

All that a `transformers` model does to tokens one by one (embeddings, norms, matrices) needs to
know nothing of texts; attention alone does. It is reached by the attention interface of
`transformers`, so that any architecture that uses it is served: :mod:`.attention` says how, and
whether a model can.
"""

from constitutional.packing.attention import Layout, packed_attention, supports_packing
from constitutional.packing.batching import Batching, Rows
from constitutional.packing.padded import PaddedRows, pad_rows
from constitutional.packing.rows import PackedRows, pack_rows

__all__ = [
    "Batching",
    "Layout",
    "PackedRows",
    "PaddedRows",
    "Rows",
    "pack_rows",
    "packed_attention",
    "pad_rows",
    "supports_packing",
]
