"""What is wrong with a constitution, by its texts and by the labels of a run."""

from __future__ import annotations

from constitutional.constitution import Constitution
from constitutional.instrument.findings import Finding, in_order
from constitutional.instrument.labelled import LabelledRun
from constitutional.instrument.told import label_findings
from constitutional.instrument.wording import text_findings


def lint(constitution: Constitution, run: LabelledRun | None = None) -> list[Finding]:
    """All findings, errors first."""
    found = text_findings(constitution)
    if run is not None:
        found += label_findings(constitution, run)
    return in_order(found)
