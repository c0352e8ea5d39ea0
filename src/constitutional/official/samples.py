"""The official samples through the monitors: each file, and each round of a file of chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from constitutional.evaluation.chains import (
    OfficialChain,
    critiques_at,
    finds_fault,
    is_chain_file,
    quoting,
    read_chains,
    shape_shares,
    share_of,
    unchanged,
    versions_at,
)
from constitutional.evaluation.intervals import Estimate
from constitutional.evaluation.monitors import monitor_answers
from constitutional.evaluation.texts import AnswerText, read_texts
from constitutional.official.settings import Line

#: The monitors that the table shows; ``cai monitor`` has all of them with their examples.
SHOWN = {
    "evasions": "evades",
    "reasoned_refusals": "refuses with a reason",
    "stock_phrases": "stock phrase",
    "distinct_3": "distinct 3-grams",
    "length": "words",
}


def sample_lines(path: Path) -> list[Line]:
    """What a file's texts show. Raises InputError, with the line, for one of another form."""
    name = path.stem
    if not is_chain_file(path):
        return list(_answers(name, read_texts(path)))
    chains = read_chains(path)
    lines: list[Line] = []
    for number in range(max(len(chain.versions) for chain in chains)):
        versions = versions_at(chains, number)
        lines += _answers(f"{name}, {f'revision {number}' if number else 'response'}", versions)
        if number:
            lines += _round(name, chains, number)
    return lines


def sample_files(folder: Path) -> list[Path]:
    """The sample files of the folder, by name."""
    return sorted((folder / "samples").glob("*.jsonl"))


def _answers(of: str, texts: Sequence[AnswerText]) -> Iterator[Line]:
    note = f"{len(texts)} texts"
    for measure, estimate in shape_shares(texts).items():
        yield _line(of, measure, estimate, note)
    report = monitor_answers(texts)
    for monitor in report.monitors:
        if monitor.name in SHOWN:
            flagged = ", flagged" if monitor.flagged else ""
            yield _line(of, SHOWN[monitor.name], monitor.estimate, note + flagged)
    for name, reason in report.left_out.items():
        if name in SHOWN:
            yield _line(of, SHOWN[name], None, reason)


def _round(name: str, chains: Sequence[OfficialChain], number: int) -> Iterator[Line]:
    """A round's critiques, and the share of its revisions that change nothing."""
    yield _line(f"{name}, revision {number}", "unchanged", unchanged(chains, number), "")
    of, critiques = f"{name}, critique {number}", critiques_at(chains, number)
    note = f"{len(critiques)} texts"
    for measure, estimate in shape_shares(critiques).items():
        yield _line(of, measure, estimate, note)
    faults = share_of([(text.prompt, finds_fault(text.text)) for text in critiques])
    yield _line(of, "finds a fault, by wording", faults, note)
    yield _line(of, "quotes the answer", quoting(chains, number), note)


def _line(of: str, measure: str, estimate: Estimate | None, note: str) -> Line:
    return Line(
        part="samples", of=of, measure=measure, estimate=estimate, counted="prompts", note=note
    )
