"""A run folder to look at: typed, lazy, read-only, no torch, and safe beside a run in progress."""

from constitutional.reading.run import Run
from constitutional.reading.table import Comparisons, Table
from constitutional.reading.training import Training

__all__ = ["Comparisons", "Run", "Table", "Training"]
