"""Awkward texts through the readers, a run's records, its pages, reports and files."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from starlette.testclient import TestClient
from tests.fuzz.damage import NASTY
from tests.fuzz.readers import File, reader_targets
from tests.fuzz.trying import attempt, check_sentence
from tests.fuzz.written import as_rows
from tests.web_runs import answer, chain, comparison, sample, write_run

from constitutional.constitution import load_constitution, save_constitution
from constitutional.constitution.principle import Constitution, Principle
from constitutional.dialogue import Conversation
from constitutional.dialogue.prompts import load_prompts
from constitutional.errors import ConstitutionalError, InputError, one_line
from constitutional.preference.data import read_comparisons, write_trl
from constitutional.reading import Run
from constitutional.report.show import show_run
from constitutional.report.write import write_page
from constitutional.runs.lines import decode
from constitutional.runs.records import Chain, Comparison
from constitutional.web.app import make_app
from constitutional.web.served import served

WHOLE = {name: text for name, text in NASTY.items() if not re.search("[\ud800-\udfff]", text)}
READERS = {target.name: target for target in reader_targets()}


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_reads_or_refuses_it(reader: str, name: str) -> None:
    text = NASTY[name]
    turns = f"\n\nHuman: {text}\n\nAssistant: {text}"
    row = {"prompt": f"{text} moss", "response": text, "transcript": turns, "rating": 1, "id": text}
    row |= {"chosen": f"{text} a", "rejected": f"{text} b", "corrects": [text], "incorrects": ["x"]}
    for number, suffix in enumerate((".jsonl", ".json", ".csv", ".txt", "")):
        case = File(as_rows([row], suffix, plain=number % 2 == 0), suffix, 1)
        fault = attempt(READERS[reader], case)
        assert fault is None, fault.told


@pytest.mark.parametrize("name", WHOLE)
def test_a_prompt_comes_out_of_a_file_as_it_went_in(name: str, tmp_path: Path) -> None:
    text = f"How {WHOLE[name]} do I?"
    file = tmp_path / "p.jsonl"
    for plain in (True, False):
        file.write_text(json.dumps({"prompt": text}, ensure_ascii=plain) + "\n", encoding="utf-8")
        assert [r.conversation.last.text for r in load_prompts(file, kind="helpful")] == [text]
    file.with_suffix(".csv").write_bytes(as_rows([{"prompt": text}], ".csv"))
    (record,) = load_prompts(file.with_suffix(".csv"), kind="helpful")
    assert record.conversation.last.text == text


@pytest.mark.parametrize("name", [name for name in NASTY if name not in WHOLE])
def test_half_a_character_of_a_persons_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    text = f"x{NASTY[name]}"
    file = tmp_path / "p.jsonl"
    if name == "halves that join":
        file.write_text(json.dumps({"prompt": text}) + "\n")
        (record,) = load_prompts(file, kind="helpful")
        assert record.conversation.last.text == "x\U0001f600", "they are one character in JSON"
        return
    file.write_text(json.dumps({"prompt": text}) + "\n")
    with pytest.raises(InputError, match=r"line 1: .*half a character"):
        load_prompts(file, kind="helpful")
    row = {"prompt": "Hi", "chosen": text, "rejected": "No."}
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"line 1: .*half a character"):
        read_comparisons(file, goal="harmlessness", seed=0)


@pytest.mark.parametrize("name", WHOLE)
def test_a_constitution_is_written_and_read_again(name: str, tmp_path: Path) -> None:
    text = f"Be {WHOLE[name]} kind."
    written = Constitution(name=f"a{text}", principles=(Principle(id="p", text=text),))
    save_constitution(written, tmp_path / "c.yaml")
    assert load_constitution(tmp_path / "c.yaml") == written


# A run whose every text is one of them


def tags(text: str) -> tuple[str, ...]:
    """Tags are a person's, who cannot write half a character."""
    return (text,) if text in WHOLE.values() else ()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [*NASTY.values()]
    chains = [
        chain(n, text or "x", id=f"chain-{n}", response=sample(text), tags=tags(text))
        for n, text in enumerate(texts)
    ]
    pairs = [
        comparison(n, a=text, b=f"{text}.", prompt=Conversation.of(text or "x"), tags=tags(text))
        for n, text in enumerate(texts)
    ]
    answers = {"sl_cai": [answer("sl_cai", n, text) for n, text in enumerate(texts)]}
    folder = tmp_path_factory.mktemp("unicode") / "run"
    return write_run(folder, chains=chains, comparisons={"comparisons": pairs}, answers=answers)


@pytest.fixture
def browser(run: Path, tmp_path: Path) -> Iterator[TestClient]:
    shown = served([run], tmp_path)
    shown[0].index.update()
    with TestClient(make_app(shown), base_url="http://localhost:8020") as client:
        client.cookies.set("cai_warned", "yes")
        yield client


def stored(run: Path, stage: str, record_type: type[Any]) -> list[Any]:
    lines = (run / "stages" / stage / "records.jsonl").read_bytes().split(b"\n")
    return [decode(line, record_type) for line in lines if line]


def test_records_come_back_as_they_were(run: Path) -> None:
    joined = {**NASTY, "halves that join": "\U0001f600"}
    assert [c.response.text for c in stored(run, "critique_revision", Chain)] == [*joined.values()]
    assert [p.a for p in stored(run, "comparisons", Comparison)] == [*joined.values()]


def test_pages_and_reports_are_whole(run: Path, browser: TestClient, tmp_path: Path) -> None:
    for path in ("", "/chains", "/comparisons", "/chains?q=moss", "/training"):
        assert browser.get(f"/runs/run{path}").status_code == 200
    for number, name in enumerate(NASTY):
        for path in (f"chains/{number + 1}", f"comparisons/comparisons/{number + 1}"):
            page = browser.get(f"/runs/run/{path}")
            assert page.status_code in (200, 404), name
    for markdown in (False, True):
        out = write_page([run], tmp_path / "report", markdown=markdown)
        assert "\x1b" not in out.read_text(encoding="utf-8").replace("\x1b[31mred", "")


def test_a_model_does_not_write_to_the_terminal_itself(run: Path) -> None:
    for number in range(len(NASTY)):
        file = io.StringIO()
        show_run(Run(run), Console(file=file, width=100), chain=f"chain-{number}")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", file.getvalue()), number


def test_pairs_go_out_in_trls_form(run: Path, tmp_path: Path) -> None:
    pairs = stored(run, "comparisons", Comparison)
    out = tmp_path / "trl.jsonl"
    assert write_trl(pairs, out) == 0
    rows = [json.loads(line) for line in out.read_bytes().split(b"\n") if line]
    texts = [{row["chosen"][0]["content"], row["rejected"][0]["content"]} for row in rows]
    assert texts == [{pair.a, pair.b} for pair in pairs]


@pytest.mark.parametrize("name", NASTY)
def test_an_error_is_one_line_whatever_it_names(name: str) -> None:
    said = str(InputError(f"found {NASTY[name]}", path=f"x{NASTY[name]}", line=1))
    check_sentence(said)
    assert one_line(said) == said


def test_an_error_is_no_longer_than_a_sentence() -> None:
    assert len(str(ConstitutionalError("x" * 10**6))) < 1500
