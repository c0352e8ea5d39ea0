"""The index of a run's records: text search, filters and orders, in a cache outside of the run."""

from constitutional.web.index.build import RunIndex
from constitutional.web.index.query import Found, Page, Query, Where

__all__ = ["Found", "Page", "Query", "RunIndex", "Where"]
