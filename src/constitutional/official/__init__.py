"""Any model on data that nobody here made: the paper's evaluations and samples, judged pairs."""

from constitutional.official.settings import Line, Order, Table
from constitutional.official.whole import official_table

__all__ = ["Line", "Order", "Table", "official_table"]
