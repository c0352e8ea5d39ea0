"""The memory of a run: what was computed survives a kill, and nothing is lost or doubled."""

from constitutional.runs.files import atomic_write
from constitutional.runs.folder import RunFolder
from constitutional.runs.journal import Journal, Recovered, read_records
from constitutional.runs.lines import fingerprint_of
from constitutional.runs.manifest import Manifest
from constitutional.runs.progress import Progress, QuietProgress
from constitutional.runs.signals import interruptible, safe_records
from constitutional.runs.stored import Records

__all__ = [
    "Journal",
    "Manifest",
    "Progress",
    "QuietProgress",
    "Records",
    "Recovered",
    "RunFolder",
    "atomic_write",
    "fingerprint_of",
    "interruptible",
    "read_records",
    "safe_records",
]
