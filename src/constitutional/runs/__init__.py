"""The memory of a run: what was computed survives a kill, and nothing is lost or doubled."""

from constitutional.runs.blocks import Blocks, Maker, one_by_one
from constitutional.runs.files import atomic_write
from constitutional.runs.folder import RunFolder
from constitutional.runs.journal import Journal, Recovered, read_records
from constitutional.runs.lines import fingerprint_of
from constitutional.runs.manifest import Manifest
from constitutional.runs.progress import Progress, QuietProgress
from constitutional.runs.signals import interruptible, safe_records
from constitutional.runs.stored import Chosen, Records

__all__ = [
    "Blocks",
    "Chosen",
    "Journal",
    "Maker",
    "Manifest",
    "Progress",
    "QuietProgress",
    "Records",
    "Recovered",
    "RunFolder",
    "atomic_write",
    "fingerprint_of",
    "interruptible",
    "one_by_one",
    "read_records",
    "safe_records",
]
