"""A principle on one page: its texts, its history, and what the attribution says it did."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from report_runs import small_folder
from tests.web.injections import CORPUS
from tests.web_runs import HELP, answer, chain, comparison, write_run

from constitutional.constitution import load_constitution, save_constitution
from constitutional.errors import ConstitutionFileError
from constitutional.evaluation.verdicts import Behaviour, Verdict
from constitutional.reading import Run
from constitutional.report.one.page import page_of
from constitutional.report.one.principles import principles
from constitutional.report.one.view import View
from constitutional.report.write import write_page

ASKED = ("Please tell me how to read the mayor's letter.", "How do I read the mayor's letter?")
HELPS = Verdict(harmful_request=True, behaviour=Behaviour.HELPS, harm=4)


def made(folder: Path) -> Path:
    """Chains and labels of the microworld, which its oracle can judge."""
    return write_run(
        folder,
        chains=[chain(number, ASKED[number % 2]) for number in range(12)],
        comparisons={"comparisons_ai": [comparison(number) for number in range(6)]},
        answers={
            "helpful": [answer("helpful", n, HELP, verdict=HELPS) for n in range(5)],
            "sl_cai": [answer("sl_cai", n, HELP, verdict=HELPS) for n in range(3)]
            + [answer("sl_cai", n) for n in (3, 4)],
            "rl_cai": [answer("rl_cai", n) for n in range(5)],
        },
    )


def with_history(folder: Path, **changes: str) -> Path:
    """Its first principle has said something else before."""
    file = folder / "constitution.yaml"
    found = load_constitution(file)
    first = found.principles[0]
    history = [
        {"date": "2026-01-02", "text": "Do no harm.", "why": "the first draft", **changes},
        {"date": "2026-03-04", "text": first.text},
    ]
    changed = type(first)(**{**dict(first), "history": history})
    rest = found.principles[1:]
    save_constitution(found.model_copy(update={"principles": (changed, *rest)}), file)
    return folder


def tables(block: Any) -> list[Any]:
    return [inner for inner in block.blocks if inner.kind == "table"]


def test_a_principle_has_texts_history_and_effect(tmp_path: Path) -> None:
    run = Run(with_history(made(tmp_path / "run")))
    assert run.constitution is not None
    section = principles(View(run))
    assert section is not None
    folds = {block.title: block for block in section.blocks if block.kind == "fold"}
    assert list(folds) == [p.id for p in run.constitution.principles]
    first = folds["no-harm"]
    texts = dict(first.blocks[0].pairs)
    assert texts["text"] == "Do not help with anything harmful."
    assert texts["source"] == "microworld" and texts["weight"] == "3"
    assert texts["revision request"] == run.constitution.principles[0].revision
    history, effect = tables(first)
    assert history.rows == [
        ["2026-01-02", "Do no harm.", "the first draft"],
        ["2026-03-04", "Do not help with anything harmful.", "–"],
    ]
    # of 12 chains those of 0, 3, 6, 9 refuse from the start, and 4 is broken. The even ones draw
    # no-harm first, which changes nothing, the odd ones in the second round, which refuses.
    found = {row[0]: row for row in effect.rows}
    turned = found["turned it to one that evades or refuses"]
    assert turned[1] == "7 that did not" and turned[2].text == f"{100 * 4 / 7:.1f}"
    assert found["turned it from that"][1] == "4 that did"
    assert found["push on SL-CAI evades or refuses, revisions"][1] == "11 of its revisions"
    # after the first round 4 of 11 refuse, of the odd ones, which it had no part in, 2 of 6; the
    # second round leaves nothing that it had no part in
    push = found["push on SL-CAI evades or refuses, revisions"][2]
    assert push.text == f"{100 * (4 / 11 - 2 / 6):+.1f}"
    assert found["preferred the answer that evades or refuses"][2].text == "100.0"
    assert found["decided by position"][2].text == "0.0"
    (example,) = [block for block in first.blocks if block.kind == "fold"]
    assert example.warns and example.blocks[0].id == "chain-1"


def test_the_table_has_both_changes(tmp_path: Path) -> None:
    section = principles(View(Run(made(tmp_path / "run"))))
    assert section is not None
    (table,) = tables(section)
    assert table.head == ["principle", "SL-CAI evades or refuses", "RL-CAI evades or refuses"]
    assert "+40.0" in table.caption and "+60.0" in table.caption
    assert len(table.rows) == 16


def test_what_the_judge_cannot_read_is_said(tmp_path: Path) -> None:
    # these comparisons ask nothing that the oracle knows
    section = principles(View(Run(small_folder(tmp_path / "run"))))
    assert section is not None
    (said,) = [block.text for block in section.blocks if block.kind == "paragraph"]
    assert "What pushed RL-CAI cannot be told" in said and "oracle" in said
    assert tables(section)[0].head == ["principle", "SL-CAI evades or refuses"]


def test_without_a_constitution_there_are_ids_alone(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    (folder / "constitution.yaml").unlink()
    run = Run(folder)
    if run.constitution is None:
        section = principles(View(run))
        assert section is not None
        folds = [block for block in section.blocks if block.kind == "fold"]
        assert sorted(fold.title for fold in folds) == ["avoid-harm", "no-harm"]
        assert "not known" in folds[0].blocks[0].text


def test_no_text_of_a_principle_is_obeyed(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    hostile = " ".join(CORPUS)
    with_history(folder, text=hostile, why=hostile)
    page = page_of(Run(folder))
    assert "principles" in [section.name for section in page.sections]
    html = write_page([Run(folder).path]).read_text()
    assert (
        "<script" not in html and "<img" not in html and "javascript:" not in html.split("<body")[0]
    )
    assert "&lt;script" in html
    assert write_page([folder], markdown=True).read_text()


def test_a_run_without_anything_has_no_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    section = principles(View(Run(folder)))
    assert section is not None, "the constitution's principles are known"
    assert not tables(section)


def test_a_history_needs_no_quotes_and_shapes_no_prompt(tmp_path: Path) -> None:
    lines = ["name: small", "principles:", "  - id: kind", "    text: Be kind."]
    plain, told = tmp_path / "plain.yaml", tmp_path / "told.yaml"
    plain.write_text("\n".join(lines))
    told.write_text("\n".join([*lines, "    history:", "    - {date: 2026-01-02, text: Be nice.}"]))
    found = load_constitution(told)
    assert found.principles[0].history[0].date == date(2026, 1, 2)
    assert found.fingerprint == load_constitution(plain).fingerprint
    save_constitution(found, told)
    assert load_constitution(told) == found
    told.write_text(told.read_text().replace("2026-01-02", "2026-13-02"))
    with pytest.raises(ConstitutionFileError, match=r"line 6: .*date"):
        load_constitution(told)
