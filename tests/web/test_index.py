"""The index of a run's records: what it finds, and how it follows a run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.web_runs import add_records, chain, comparison, readings, recipe, write_run

from constitutional.microworld.oracle import Oracle
from constitutional.runs import RunFolder
from constitutional.runs.records import Chain, Comparison
from constitutional.web.index import Query, RunIndex, Where
from constitutional.web.index.query import as_match, counts, facets, find, read_record, search

CHAINS = [chain(number) for number in range(30)]
PAIRS = [
    comparison(0, readings((0.1, 0.1), (0.1, 0.1))),
    comparison(1, readings((0.9, 0.1), (0.5, 0.5))),
    comparison(2, readings((0.8, 0.8), (0.1, 0.1)), prob_a=0.5),
    comparison(3, readings((None, 0.3), (0.4, 0.4)), prob_a=None, goal="helpfulness"),
    comparison(4, (), readings=()),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    return write_run(folder, chains=CHAINS, comparisons={"comparisons_ai": PAIRS})


@pytest.fixture(scope="module")
def index(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = RunIndex(run, tmp_path_factory.mktemp("cache"), Oracle())
    assert made.update() == len(CHAINS) + len(PAIRS)
    assert made.update() == 0
    return made.path


Find = Callable[..., list[str]]


@pytest.fixture(scope="module")
def chains_found(run: Path, index: Path) -> Find:
    """The ids of the chains that match."""

    def found(text: str = "", order: str = "number", **labels: str) -> list[str]:
        page = search(index, Query("chains", Where(text, labels), order), first=0, count=100)
        assert page.total == len(page.records)
        return [read_record(run, record, Chain).id for record in page.records]

    return found


def ids(wanted: Callable[[Chain], bool]) -> list[str]:
    return [one.id for one in CHAINS if wanted(one)]


def test_all_are_found_in_the_order_of_the_journal(chains_found: Find) -> None:
    assert chains_found() == ids(lambda one: True)


def test_every_word_has_to_be_there_wherever_it_stands(chains_found: Find) -> None:
    assert chains_found("chain-7") == ["chain-7"]  # the id
    assert chains_found("number 11 nosy") == ["chain-11"]  # a critique
    assert chains_found("glass MAYOR") == ids(lambda one: "glass" in one.response.text)
    assert chains_found("glass unheard") == []


def test_phrases_and_beginnings(chains_found: Find) -> None:
    assert chains_found('"clear glass first"') == ids(lambda one: "glass" in one.response.text)
    assert chains_found('"glass clear"') == []
    assert chains_found("gla*") == ids(lambda one: "glass" in one.response.text)
    assert chains_found("gla") == [] == chains_found("gl*")


def test_by_principle_flag_tag_and_verdict(chains_found: Find) -> None:
    assert chains_found(flag="looped") == ["chain-4"]
    assert chains_found(tag="seen") == ids(lambda one: "seen" in one.tags)
    by = ids(lambda one: one.rounds[0].principle == "no-harm")
    assert chains_found(principle="no-harm") == ids(lambda one: True)  # each has both
    assert len(by) == 15
    assert chains_found(first="helps", last="reasoned_refusal") == ids(
        lambda one: "glass" in one.response.text
    )
    assert chains_found("mayor", first="reasoned_refusal", tag="seen") == ids(
        lambda one: int(one.id[6:]) % 6 == 3
    )
    assert chains_found(principle="unheard-of") == []


def test_the_most_changed_come_first(chains_found: Find) -> None:
    changed = [one.response.text != one.versions[-1].text for one in CHAINS]
    found = chains_found(order="changes")
    assert found == [one.id for one, c in zip(CHAINS, changed, strict=True) if c] + [
        one.id for one, c in zip(CHAINS, changed, strict=True) if not c
    ]


def test_facets_count_their_records(index: Path) -> None:
    found = facets(index, "chains")
    assert found["tag"] == [("intrusive", 30), ("held_out", 15), ("seen", 15)]
    assert found["flag"] == [("none", 29), ("looped", 1)]
    assert found["first"] == [("helps", 20), ("reasoned_refusal", 10)]
    assert ("some unreadable", 1) in facets(index, "comparisons")["reading"]
    assert counts(index) == {"critique_revision": 30, "comparisons_ai": 5}


def test_comparisons_by_disagreement(run: Path, index: Path) -> None:
    """The gaps worked out by hand: pair 1 has orders 0.8 apart, pair 2 principles 0.7 apart."""

    def found(order: str) -> list[str]:
        page = search(index, Query("comparisons", Where(), order), first=0, count=9)
        return [read_record(run, one, Comparison).id for one in page.records]

    assert found("orders")[:1] == ["pair-1"]
    assert found("principles")[:2] == ["pair-2", "pair-3"]
    assert found("orders")[-1] == "pair-4"  # nothing to compare: last
    assert found("number") == [pair.id for pair in PAIRS]


def test_a_page_of_a_long_list(index: Path) -> None:
    page = search(index, Query("chains", Where()), first=10, count=4)
    assert (page.total, [found.number for found in page.records]) == (30, [11, 12, 13, 14])


def test_a_record_by_its_line(run: Path, index: Path) -> None:
    found = find(index, "chains", "critique_revision", 8)
    assert found is not None
    line = (run / "stages" / "critique_revision" / "records.jsonl").read_bytes().splitlines()[7]
    assert read_record(run, found, Chain).id == json.loads(line)["id"] == "chain-7"
    assert find(index, "chains", "critique_revision", 31) is None
    assert find(index, "chains", "no such stage", 1) is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet='"*()-+:^ ANDORNEAR{}', max_size=20))
def test_nothing_typed_is_an_operator(index: Path, text: str) -> None:
    search(index, Query("chains", Where(text)), first=0, count=1)


def test_signs_alone_find_nothing(index: Path) -> None:
    assert as_match("* \" ' -- ()") == ""
    assert search(index, Query("chains", Where('"" **')), first=0, count=1).total == 0


# --- beside a run -----------------------------------------------------------------------------


def total(index: RunIndex) -> int:
    return search(index.path, Query("chains", Where()), first=0, count=1).total


def test_it_follows_a_run_block_by_block(tmp_path: Path) -> None:
    folder, parts = tmp_path / "run", []
    write_run(folder)
    index = RunIndex(folder, tmp_path / "cache")
    assert index.update() == 0

    def make(blocks: object) -> object:
        for number in range(3):
            parts.append((index.update(), total(index)))
            yield CHAINS[number * 4 : number * 4 + 4]

    with RunFolder.open(folder, recipe(), command="cai go-on") as run:
        from constitutional.runs import QuietProgress

        run.stage_records(
            "critique_revision",
            inputs={},
            record_type=Chain,
            items=CHAINS[:12],
            block_size=4,
            make=make,  # type: ignore[arg-type]
            progress=QuietProgress(),
        )
    assert parts == [(0, 0), (4, 4), (4, 8)]
    assert (index.update(), total(index)) == (4, 12)


def test_a_block_that_is_not_whole_waits(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", chains=CHAINS)
    records = folder / "stages" / "critique_revision" / "records.jsonl"
    whole = records.read_bytes()
    records.write_bytes(whole[:-10])
    index = RunIndex(folder, tmp_path / "cache")
    assert (index.update(), total(index)) == (28, 28)
    records.write_bytes(whole)
    assert (index.update(), total(index)) == (2, 30)


def test_a_stage_that_was_made_again_is_read_again(tmp_path: Path) -> None:
    import shutil

    folder = write_run(tmp_path / "run", chains=CHAINS)
    index = RunIndex(folder, tmp_path / "cache")
    index.update()
    shutil.rmtree(folder / "stages" / "critique_revision")
    with RunFolder.open(folder, recipe(), command="cai go-on") as run:
        add_records(run, "critique_revision", [chain(n, "Another prompt?") for n in range(40, 46)])
    assert (index.update(), total(index)) == (6, 6)
    query = Query("chains", Where("mayor glass"))
    assert search(index.path, query, first=0, count=1).total == 4  # the answers, no old prompt


def test_another_run_in_the_same_place_has_an_index_of_its_own(tmp_path: Path) -> None:
    import shutil

    folder = write_run(tmp_path / "run", chains=CHAINS)
    RunIndex(folder, tmp_path / "cache").update()
    shutil.rmtree(folder)
    write_run(folder, chains=CHAINS[:3])
    manifest = json.loads((folder / "run.json").read_text())
    manifest["created"] = "2030-01-01T00:00:00+00:00"  # a clock of seconds saw no difference
    (folder / "run.json").write_text(json.dumps(manifest))
    index = RunIndex(folder, tmp_path / "cache")
    assert (index.update(), total(index)) == (3, 3)


def test_several_that_read_at_once_double_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", chains=[chain(n) for n in range(400)])
    indexes = [RunIndex(folder, tmp_path / "cache") for _ in range(4)]
    together = threading.Barrier(4)

    def update(index: RunIndex) -> int:
        together.wait()
        return index.update()

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(update, indexes)) == 400
    assert total(indexes[0]) == 400
    assert search(indexes[0].path, Query("chains", Where("mayor")), first=0, count=1).total == 400


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", chains=CHAINS)
    index = RunIndex(folder, tmp_path / "cache")
    index.update()
    index.path.write_bytes(b"no index at all, " * 1000)
    again = RunIndex(folder, tmp_path / "cache")
    assert (again.update(), total(again)) == (30, 30)


def test_text_that_is_no_unicode_is_found_by_what_is(tmp_path: Path) -> None:
    odd = chain(1, response=chain(1).response.model_copy(update={"text": "broken \ud800 half"}))
    folder = write_run(tmp_path / "run", chains=[odd])
    index = RunIndex(folder, tmp_path / "cache")
    index.update()
    assert search(index.path, Query("chains", Where("broken half")), first=0, count=1).total == 1


def test_the_run_itself_is_left_alone(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", chains=CHAINS)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    RunIndex(folder, tmp_path / "cache").update()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
