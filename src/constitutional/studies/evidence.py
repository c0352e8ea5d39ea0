"""``docs/evidence.md`` and ``docs/evidence.json``: what every study has found, from its results.

Results lie in DOCS/evidence/NAME.json, one file for each study, and those of runs on this machine
in OUT. A result counts where it is of the registration as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from constitutional.recipe.reading import text_of
from constitutional.runs.files import atomic_write, make_folder
from constitutional.studies.reading import Study
from constitutional.studies.results import STUDY, Results, again, as_stored, read_results
from constitutional.studies.tables import cell, in_words, measures_table, notes, rules_table

_HEAD = """\
# Evidence

What the paper and others have claimed, tried on the microworld, where an oracle knows the truth.
Each study was registered before it was run: its arms, seeds, measures and rules stand in a file,
whose fingerprint the results carry ([studies.md](studies.md)). Intervals are 95%, Student's t over
seeds, and can pass 0 or 100%; differences are paired by seed. A claim *holds* where every rule
holds, *does not hold* where one does not, and else the runs *cannot tell*. This says something of
models as small as these, and of larger ones only that it would have to be tried.

This file is generated: `cai study evidence`. What was noticed beside the rules was written by hand,
in `evidence/NAME.md`, when the results were there. The numbers: [evidence.json](evidence.json)."""


class Found(NamedTuple):
    """A study with its results, and why there are none or others were left out."""

    study: Study
    results: Results | None
    remarks: tuple[str, ...]


def find_results(study: Study, out: Path, docs: Path) -> Found:
    """The results of the registration as it stands; the fuller of two, and of equals the runs'."""
    remarks, usable = [], []
    for path in (out / study.name / STUDY, docs / "evidence" / f"{study.name}.json"):
        stored = read_results(path)
        if stored is None:
            continue
        if stored.registration != study.fingerprint:
            remarks.append(
                f"Results in `{path.name}` of {path.parent.name} are of another registration than "
                "the one that stands now, and are not used."
            )
        else:
            usable.append(again(study, stored))
    best = max(usable, key=lambda results: results.runs, default=None)
    return Found(study, best, tuple(remarks))


def write_evidence(studies: Sequence[Study], out: Path, docs: Path) -> list[Found]:
    """Write both files, the figures, and the results that they were made from."""
    from constitutional.studies.drawing import draw

    images = docs / "images" / "studies"
    make_folder(docs / "evidence")
    found = [find_results(study, out, docs) for study in studies]
    figures = {}
    for study, results, _ in found:
        if results is None:
            continue
        atomic_write(docs / "evidence" / f"{study.name}.json", as_stored(results))
        for path in draw(study, results, images):
            if path.suffix == ".svg":
                figures[study.name] = path
            else:
                path.unlink()  # text that a repository can hold, not pixels
    text = "\n\n".join([_HEAD, _overview(found), *(_section(f, figures, docs) for f in found)])
    atomic_write(docs / "evidence.md", text.encode(errors="replace") + b"\n")
    data = {f.study.name: summary(f.results) for f in found if f.results is not None}
    atomic_write(docs / "evidence.json", json.dumps(data, indent=1).encode() + b"\n")
    return found


def summary(results: Results) -> dict[str, Any]:
    """A study in ``evidence.json``."""
    return {
        "verdict": results.verdict,
        "arms": {
            arm: {name: numbers.found.model_dump() for name, numbers in measures.items()}
            for arm, measures in results.arms.items()
        },
        "estimates": [
            {
                "says": decision.says,
                "difference": list(decision.difference),
                "bound": decision.bound,
                **decision.found.model_dump(),
                "verdict": decision.verdict,
            }
            for decision in results.rules
        ],
        "seeds": list(results.seeds),
        "registered_seeds": list(results.registered_seeds),
    }


def _overview(found: Sequence[Found]) -> str:
    lines = ["| | study | question | verdict | runs |", "| --- | --- | --- | --- | --- |"]
    for study, results, _ in found:
        verdict = "not run yet" if results is None else f"**{results.verdict}**"
        runs = "" if results is None else str(results.runs)
        registration = study.registration
        link = f"[{study.name}](#{_anchor(study)})"
        question = cell(registration.question)
        lines.append(f"| {registration.number} | {link} | {question} | {verdict} | {runs} |")
    return "\n".join(lines)


def _section(found: Found, figures: dict[str, Path], docs: Path) -> str:
    study, results, remarks = found
    registration = study.registration
    parts = [
        f"## {registration.number}. {cell(registration.title)}",
        f"**Question.** {cell(registration.question)}",
        f"**Claim.** {cell(registration.claim)}",
    ]
    if results is None:
        return "\n\n".join([*parts, "**Not run yet.**", *remarks, _repeat(study)])
    rules = "\n".join(f"- {cell(rule.says)}: {in_words(rule)}" for rule in results.rules)
    parts += [
        f"**Registered rules** (each a mean over seeds {_listed(results.registered_seeds)}):",
        rules,
        f"**Verdict: {results.verdict}.**",
        rules_table(registration, results),
        measures_table(registration, results),
        *notes(results),
        *_noticed(study, docs),
        *remarks,
    ]
    if study.name in figures:
        place = figures[study.name].relative_to(docs).as_posix()
        parts.append(f"![{cell(registration.title)}]({place})")
    minutes = results.seconds / 60
    parts.append(f"{_repeat(study)} {results.runs} runs took {minutes:.0f} min of one core.")
    return "\n\n".join(parts)


def _noticed(study: Study, docs: Path) -> list[str]:
    """What somebody wrote about the results, where ``evidence/NAME.md`` is there."""
    path = docs / "evidence" / f"{study.name}.md"
    return (
        [f"**Noticed beside the rules.** {text_of(path, 'a note').strip()}"]
        if path.is_file()
        else []
    )


def _repeat(study: Study) -> str:
    return f"Again: `cai study {study.word}`."


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _anchor(study: Study) -> str:
    """As GitHub makes it of a heading."""
    words = f"{study.registration.number}. {cell(study.registration.title)}".lower()
    kept = (c for c in words if c.isalnum() or c in " -_")
    return "".join(kept).replace(" ", "-")
