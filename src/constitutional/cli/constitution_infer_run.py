"""What ``cai constitution infer`` and ``audit`` do with their options."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from constitutional.cli.tables import cell
from constitutional.constitution import Constitution, save_constitution
from constitutional.dialogue import check_vocabulary, render
from constitutional.engines import Engine, load_engine
from constitutional.errors import InputError
from constitutional.evaluation.intervals import Estimate
from constitutional.instrument.auditing import Audit, audit
from constitutional.instrument.inferred import Inferred
from constitutional.instrument.inferring import InferConfig, Parts, infer
from constitutional.instrument.proposing import Proposed, given, propose
from constitutional.instrument.testimony import testify
from constitutional.recipe import named_constitution, resource
from constitutional.runs import Progress, RunFolder, fingerprint_of, interruptible
from constitutional.runs.records import Comparison

#: What may change while the answers stay.
_FREE = frozenset({"keep", "penalty", "gain"})


@dataclass(frozen=True)
class Inference:
    """An order of ``cai constitution infer``: everything that decides what comes out."""

    parts: Parts
    config: InferConfig
    tester: str
    generator: str | None
    candidates: str | None
    out: Path
    batch_size: int

    def made(self, left_out: Mapping[str, int]) -> tuple[Inferred, bool]:
        """The report, and whether the file was written; answers are kept in ``OUT.answers``."""
        file = None if self.candidates is None else named_constitution(self.candidates)
        comparisons = [c for part in self.parts for c in part]
        settings = {**self.config.model_dump(), "batch_size": self.batch_size}
        with ExitStack() as stack:
            folder = self.out.with_suffix(".answers")
            stack.enter_context(interruptible(folder, _command()))
            texts = {} if file is None else _texts(file)
            tester = stack.enter_context(_engine(self.tester, comparisons, texts, self.batch_size))
            generator = None
            if self.generator is not None:
                generator = tester
                if self.generator != self.tester:
                    generator = stack.enter_context(
                        _engine(self.generator, comparisons, {}, self.batch_size)
                    )
            run = stack.enter_context(
                _opened(folder, {"name": "infer", **settings}, comparisons, tester)
            )
            proposed = self._proposed(run, file, generator)
            pool = Constitution(name="candidates", principles=proposed.principles)
            report, constitution = infer(
                run,
                self.parts,
                pool if file is None else pool.with_few_shots(file.few_shots),
                tester,
                self.config,
                progress=Progress(),
                left_out={**left_out, **proposed.left_out},
                generator=None if generator is None else generator.name,
            )
            run.write_text("report.json", report.model_dump_json(indent=2) + "\n")
        if constitution is not None:
            save_constitution(constitution, self.out)
            print(f"{self.out}: {len(constitution.principles)} principles", file=sys.stderr)
        return report, constitution is not None

    def _proposed(
        self, run: RunFolder, file: Constitution | None, generator: Engine | None
    ) -> Proposed:
        if file is not None:
            found = given(file)
        else:
            assert generator is not None, "the command has checked that there is one of the two"
            found = propose(
                run,
                generator,
                self.parts.training[: self.config.ask],
                seed=self.config.seed,
                block=self.config.block,
                progress=Progress(),
            )
        if not found.principles:
            lines = ", ".join(f"{n} ({why})" for why, n in found.left_out.items()) or "none"
            raise InputError(f"there is no candidate principle; left out: {lines}")
        return found


def audit_by(
    tester: str,
    constitution: Constitution,
    comparisons: Sequence[Comparison],
    folder: Path,
    seed: int,
    batch_size: int,
    left_out: Mapping[str, int],
) -> Audit:
    """The audit by what ``tester`` says of every principle; its answers are kept in ``folder``."""
    order = {"name": "audit", "seed": seed, "batch_size": batch_size}
    with (
        interruptible(folder, _command()),
        _engine(tester, comparisons, _texts(constitution), batch_size) as engine,
        _opened(folder, order, comparisons, engine) as run,
    ):
        said = testify(
            run,
            "testimony",
            engine,
            constitution,
            comparisons,
            block=8,
            seed=seed,
            progress=Progress(),
        )
        name = engine.name
    return audit(
        constitution.comparing, comparisons, said, said_by=name, seed=seed, left_out=left_out
    )


def show_inferred(report: Inferred) -> None:
    """Tables of what was kept and of the held-out figures."""
    kept = Table(title="kept principles", caption="alone, on the training comparisons")
    for column in ("principle", "weight", "accuracy", "takes no side", "says the same"):
        kept.add_column(column)
    for p in report.kept:
        same = str(len(p.merged))
        kept.add_row(cell(p.text), f"{p.weight:.2f}", _told(p.accuracy), _told(p.silent), same)
    held_out = Table(
        title="held-out comparisons",
        caption=f"{report.candidates} candidates, {len(report.tested)} different ones; "
        f"left out: {_counts(report.left_out)}",
    )
    for column in ("by", "right", "where the longer wins", "where the longer loses", "behind"):
        held_out.add_column(column)
    for row in report.held_out:
        by_length = (_told(row.longer_wins), _told(row.longer_loses))
        held_out.add_row(cell(row.name), _told(row.all), *by_length, _told(row.principles_ahead))
    for table in (kept, held_out):
        Console().print(table)


def show_audit(report: Audit) -> None:
    """Tables of the principles and of all together."""
    by = f"by {report.said_by}; left out: {_counts(report.left_out)}"
    table = Table(title="labels and principles", caption=cell(by))
    for column in ("principle", "takes a side", "labels agree", "labels", "weight", "says as"):
        table.add_column(column)
    for p in report.principles:
        adds = "" if p.weight is None else f"{_told(p.weight)}{' +' if p.adds else ''}"
        side = f"{p.speaks} of {p.asked}"
        table.add_row(cell(p.id), side, _told(p.agreement), p.standing, adds, cell(p.same_as or ""))
    shares = Table(title=f"{report.comparisons} comparisons", caption="+ adds to the others")
    shares.add_column("labels")
    shares.add_column("share")
    for name in ("together", "one_agrees", "all_oppose", "none_speaks"):
        shares.add_row(name.replace("_", " "), _told(getattr(report, name)))
    for each in (table, shares):
        Console().print(each)


def _told(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}), n {estimate.n}"


def _counts(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {why}" for why, n in sorted(left_out.items())) or "none"


def _command() -> str:
    return "cai " + shlex.join(sys.argv[1:])


def _opened(
    folder: Path, order: Mapping[str, Any], comparisons: Sequence[Comparison], tester: Engine
) -> RunFolder:
    return RunFolder.open(
        folder,
        order,
        command=_command(),
        inputs={"comparisons": fingerprint_of(comparisons), "tester": tester.fingerprint},
        free_keys=_FREE,
    )


@contextmanager
def _engine(
    name: str, comparisons: Iterable[Comparison], texts: Mapping[str, str], batch_size: int
) -> Iterator[Engine]:
    """A model that knows all words it will be asked about; a word that it does not is refused."""
    from constitutional.engines.loading import load_tokenizer

    model = resource(name, Path())
    known = load_tokenizer(model.removeprefix("transformers:"))
    check_vocabulary(known, texts)
    for c in comparisons:
        # each text in its place: what stands before a word may be part of its token
        read = f"{render(c.prompt)}\n (A) [[[{c.a}]]]\n (B) [[[{c.b}]]]"
        check_vocabulary(known, {f"comparison {c.id}": read})
    engine = load_engine(model, batch_size=batch_size)
    try:
        yield engine
    finally:
        engine.close()


def _texts(constitution: Constitution) -> dict[str, str]:
    return {
        f"constitution {constitution.name}, principle {p.id}": f"\n\n\n{p.comparison} Options:"
        for p in constitution.comparing
    }
