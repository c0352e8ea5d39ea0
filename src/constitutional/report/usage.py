"""What servers were asked and what it cost, in a line for each engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from constitutional.report.names import plain
from constitutional.runs.usage import Usage


def usage_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """A line for each engine behind a server, over all stages; ``metrics.json`` has each stage."""
    totals: dict[str, Usage] = {}
    for engines in metrics.get("usage", {}).values():
        for name, usage in engines.items():
            totals[name] = totals.get(name, Usage()) + Usage.model_validate(usage)
    for name, total in sorted(totals.items()):
        again = f" ({total.retries:,} sent again)" if total.retries else ""
        failed = f", {total.failures:,} failed for good" if total.failures else ""
        cached = f" ({total.cached_tokens:,} cached)" if total.cached_tokens else ""
        cost = "no prices given" if total.usd is None else f"{total.usd:,.4f} dollars"
        yield (
            f"Engine {plain(name)}: {total.requests:,} requests{again}{failed}, "
            f"{total.prompt_tokens:,} prompt tokens{cached}, "
            f"{total.completion_tokens:,} completion tokens; {cost}."
        )
