"""Records of a run as one sequence, which is read from the disk when asked, and as a data frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from constitutional.errors import MissingExtraError
from constitutional.reading.rows import Row, comparison_rows
from constitutional.runs import Records
from constitutional.runs.records import Comparison

if TYPE_CHECKING:
    import pandas

R = TypeVar("R")

#: What a record is in a data frame: a row, or several.
Rows = Callable[[R], Iterator[Row]]


class Table(Sequence[R], Generic[R]):
    """The records of one or more stages, one stage behind the other.

    Empty where the recipe has no such stage or the run has not come to it. A stage that is still
    being made gives the blocks that were whole when the table was asked for.
    """

    def __init__(self, parts: Mapping[str, Records[Any]], rows: Rows[R]):
        #: The records of each stage, by the stage's name.
        self.parts = parts
        self._rows = rows

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def __iter__(self) -> Iterator[R]:
        return chain.from_iterable(self.parts.values())

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...
    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]  # IndexError and negative indices as every sequence
        for records in self.parts.values():
            if number < len(records):
                found: R = records[number]
                return found
            number -= len(records)
        raise IndexError(index)

    def to_pandas(self) -> pandas.DataFrame:
        """All of it as a data frame; ``docs/report.md`` has the columns. Needs ``notebook``."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("pandas", "notebook", "to_pandas()") from None
        return pandas.DataFrame(list(chain.from_iterable(map(self._rows, self))))

    def _repr_html_(self) -> str:
        """The first rows, where a notebook shows it."""
        try:
            import pandas
        except ImportError:
            return f"<p>{len(self)} records; to_pandas() needs pandas</p>"
        first = pandas.DataFrame(list(chain.from_iterable(map(self._rows, self[:5]))))
        count = f"{min(5, len(self))} of {len(self)} records"
        return f"<p>{count}</p>{first.to_html(escape=True, max_rows=25, notebook=True)}"


class Comparisons(Table[Comparison]):
    """The comparisons that a run made: those that AI labelled, then those of raters.

    Human comparisons that came from a file stay there, and are not in the run's folder.
    """

    def __init__(self, parts: Mapping[str, Records[Comparison]]):
        super().__init__(parts, comparison_rows)

    @property
    def ai(self) -> Comparisons:
        """Those of the stages ``comparisons_ai`` and ``comparisons_ai_cot``."""
        return self._some(ai=True)

    @property
    def human(self) -> Comparisons:
        """Those of a rater in a person's place, for helpfulness and for harmlessness."""
        return self._some(ai=False)

    def _some(self, *, ai: bool) -> Comparisons:
        mine = {
            name: records
            for name, records in self.parts.items()
            if name.startswith("comparisons_ai") == ai
        }
        return Comparisons(mine)
