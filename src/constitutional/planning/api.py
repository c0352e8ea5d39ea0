"""What models behind servers are asked, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from constitutional.planning.amounts import Amount, amount, total
from constitutional.planning.building import Shapes
from constitutional.planning.work import Stage, Work


class API(NamedTuple):
    """``usd`` None is unknown, or nothing to pay; ``words`` say which."""

    words: str
    usd: Amount | None


def api_of(shapes: Shapes, stages: Sequence[Stage]) -> API:
    """All requests of ``stages`` to the servers among ``shapes``, whether paid for or not."""
    if not shapes.served:
        return API("no API is called: every model of the recipe is local", None)
    works = [work for stage in stages for work in stage.works]
    said, costs = [], []
    for shape in shapes.served:
        asked = [work for work in works if work.model == shape]
        read, new = total(map(_read, asked)), total(map(_written, asked))
        words = f"engine {shape.name!r} reads {read.value:.3g} tokens and writes {new.value:.3g}"
        prices = None if shape.server is None else shape.server.prices
        if prices is None:
            said.append(f"{words}, without prices")
            continue
        said.append(words)
        costs.append((read * prices.prompt + new * prices.completion) * 1e-6)
    return API("; ".join(said), total(costs) if costs else None)


def _read(work: Work) -> Amount:
    """Prompt tokens; a choice may take several requests, each with the whole prompt."""
    return work.prompt * _requests(work)


def _written(work: Work) -> Amount:
    """New tokens; a request that weighs a choice has one."""
    return work.new if work.kind == "sample" else work.sequences * _requests(work)


def _requests(work: Work) -> Amount:
    server = work.model.server
    return amount(1) if server is None or work.kind == "sample" else server.requests_per_choice
