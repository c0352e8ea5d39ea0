"""A study's results in words and Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from constitutional.studies.reading import Study
from constitutional.studies.registration import Registration
from constitutional.studies.results import Numbers, Results
from constitutional.studies.rules import Decision, Spread

#: A table of more measures than this has a row for each of them.
_MOST_COLUMNS = 10


def table(study: Study, results: Results) -> str:
    """``table.md``: the verdict, the rules, and every measure in every arm."""
    parts = [
        f"# {cell(study.registration.title)}: {results.verdict}",
        rules_table(study.registration, results),
        measures_table(study.registration, results),
        *notes(results),
    ]
    return "\n\n".join(parts) + "\n"


def rules_table(registration: Registration, results: Results) -> str:
    """A row for each rule: what it says, what was found, and the verdict."""
    head = ("rule", "difference", "holds if", "found (95% interval)", "seeds", "verdict")
    return _markdown(head, (_rule_row(registration, decision) for decision in results.rules))


def measures_table(registration: Registration, results: Results) -> str:
    """A row for each arm and a column for each measure, or the other way where these are many."""
    names = [
        name for name in registration.measures if any(name in m for m in results.arms.values())
    ]
    units = {"share": ", %", "number": ""}
    lines = [("arm", *(f"{name}{units[registration.measures[name].unit]}" for name in names))]
    lines += [
        (arm, *(_numbers(measures.get(name), registration, name) for name in names))
        for arm, measures in results.arms.items()
    ]
    if len(names) > _MOST_COLUMNS:
        lines = list(zip(*lines, strict=True))
    return _markdown(lines[0], lines[1:])


def notes(results: Results) -> list[str]:
    """What a reader has to know of runs that are not there."""
    said = []
    if results.cut_short:
        lacking = "; ".join(line for arm in results.arms for line in _lacking(arm, results))
        said.append(
            f"Some of the {len(results.registered_seeds)} registered seeds are missing: {lacking}. "
            "They were left out and not replaced."
        )
    said += [f"Failed: {run} ({cell(why)})." for run, why in results.failures.items()]
    return said


def _lacking(arm: str, results: Results) -> list[str]:
    """Which seeds an arm has not, or which of its measures have not."""
    measures = results.arms[arm]
    ways = {numbers.missing for numbers in measures.values()}
    if len(ways) == 1:
        missing = ways.pop()
        return [f"{arm} without {_listed(missing)}"] if missing else []
    return [
        f"{arm}/{name} without {_listed(numbers.missing)}"
        for name, numbers in measures.items()
        if numbers.missing
    ]


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def in_words(decision: Decision) -> str:
    """A rule as it was registered, such as ``a.harm - b.harm above 0``."""
    return f"{_difference(decision)} {decision.bound}"


def _difference(decision: Decision) -> str:
    pairs = [" − ".join(f"`{t}`" for t in decision.difference[at : at + 2]) for at in (0, 2)]
    return f"({pairs[0]}) − ({pairs[1]})" if pairs[1] else pairs[0]


def shown(found: Spread, unit: str, *, difference: bool = False) -> str:
    """A mean with its interval: shares in percent, differences of shares in points."""
    if found.value is None:
        return "no number"
    scale = 100.0 if unit == "share" else 1.0
    sign = "+" if difference else ""

    def one(value: float) -> str:
        text = f"{scale * value:{sign}.1f}" if unit == "share" else f"{value:{sign}.4g}"
        return text if float(text) else text.replace("-", "").replace("+", "")

    if found.low is None or found.high is None:
        return f"{one(found.value)} (no interval)"
    return f"{one(found.value)} ({one(found.low)} to {one(found.high)})"


def cell(text: str) -> str:
    """Somebody's words in a Markdown cell or line."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def found_in(registration: Registration, decision: Decision) -> str:
    """What a rule has found, with its unit."""
    unit = registration.measures[decision.difference[0].split(".", 1)[1]].unit
    is_difference = len(decision.difference) > 1
    found = shown(decision.found, unit, difference=is_difference)
    if unit == "number" or decision.found.value is None:
        return found
    return f"{found} {'points' if is_difference else '%'}"


def _rule_row(registration: Registration, decision: Decision) -> Sequence[str]:
    return (
        cell(decision.says),
        _difference(decision),
        decision.bound,
        found_in(registration, decision),
        str(decision.found.n),
        decision.verdict,
    )


def _numbers(numbers: Numbers | None, registration: Registration, name: str) -> str:
    if numbers is None:
        return ""
    unit = registration.measures[name].unit
    return f"{shown(numbers.found, unit)}, n = {numbers.found.n}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
