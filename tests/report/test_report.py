"""The report of one run: what it says, that it is whole by itself, and that texts stay texts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from report_runs import CHAINS, small_answers, small_folder, write_result
from small_run import small_metrics
from tests.web.injections import CORPUS
from tests.web_runs import REFUSAL, chain, sample, write_history, write_run

from constitutional.constitution import load_constitution
from constitutional.dialogue import Conversation
from constitutional.errors import InputError, RunFolderError
from constitutional.reading import Run
from constitutional.report.names import zero
from constitutional.report.one.page import page_of
from constitutional.report.write import write_page

Cai = Callable[..., tuple[int, str, str]]
SECTIONS = (
    *("results", "warnings", "what", "rounds", "labels", "preference", "rl", "chains"),
    *("constitution", "principles", "cost", "repeat"),
)
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
TEXTS = ("see http://evil.example", "or www.evil.example", *CORPUS)
#: Elements of which a page could be made to do something, or to ask for something.
NEVER = {"script", "img", "iframe", "object", "embed", "link", "base", "form", "audio", "video"}


class Html(HTMLParser):
    """What elements a page has, and what is said in it."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.said).split())

    def values(self, name: str) -> list[str]:
        return [value for attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_folder(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return write_page([run]).read_text()


@pytest.fixture(scope="module")
def page(html: str) -> Html:
    return Html(html)


def sections(run: Path) -> dict[str, Any]:
    """The sections by name, without drawing anything."""
    return {section.name: section for section in page_of(Run(run)).sections}


def cells(section: Any) -> Iterator[tuple[str, Any]]:
    """Each cell of a section's tables by ``row, column``."""
    for block in section.blocks:
        if block.kind in ("fold", "beside"):
            yield from cells(block)
        elif block.kind == "table":
            for row in block.rows:
                for column, cell in zip(block.head, row, strict=True):
                    yield f"{row[0]}, {column}", cell


def test_it_has_every_section_in_order(html: str, page: Html) -> None:
    assert tuple(re.findall(r'<section id="(\w+)"', html)) == SECTIONS
    assert page.tags["h1"] == 1
    assert page.tags["svg"] > 10


def test_it_asks_for_nothing_and_runs_nothing(html: str, page: Html) -> None:
    assert set(page.tags) & NEVER == set()
    addresses = [*page.values("href"), *page.values("src"), *page.values("action")]
    assert addresses and all(address.startswith("#") for address in addresses)
    assert set(re.findall(r"url\((.)", html)) == {"#"}
    assert "@import" not in html
    assert "default-src 'none'" in page.values("content")[1]
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_every_address_leads_somewhere(html: str, page: Html) -> None:
    ids = Counter(page.values("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    leads = [address[1:] for address in page.values("href")]
    leads += re.findall(r"url\(#([^)]+)\)", html)
    assert len(leads) > 50
    assert set(leads) <= set(ids)


def test_numbers_are_those_of_the_metrics(run: Path) -> None:
    metrics, found = Run(run).metrics, sections(run)
    shown = dict(cells(found["results"]))
    share = metrics["policies"]["sl_cai"]["held_out"]["reasoned_refusal"]
    cell = shown["SL-CAI, reasoned refusal"]
    assert cell.text == f"{100 * share['value']:.1f}"
    assert cell.interval == f"{100 * share['low']:.1f} to {100 * share['high']:.1f}"
    rating = metrics["elo"]["harmlessness"]["rl_cai"]
    assert shown["RL-CAI, harmlessness Elo"].text == str(round(rating["value"]))
    assert shown["SL-CAI, harmlessness Elo"].interval == "", "it is at 0 by definition"
    assert shown["RL-CAI, step 13, n"] == "6 + 6"
    harm = metrics["revision_rounds"][2]["harmful_compliance"]
    assert (
        dict(cells(found["rounds"]))["2, harmful compliance"].text == f"{100 * harm['value']:.1f}"
    )
    labels = dict(cells(found["labels"]))
    position = metrics["arms"]["rl_cai"]["labels"]["account"]["decided_by_position"]
    assert labels["RL-CAI, the same, all pairs"].text == f"{100 * position['value']:.1f}"
    assert labels["kind, pairs"] == "24"
    accuracy = metrics["arms"]["rl_cai"]["preference_model"]["report"]["all"]["accuracy"]
    shown = dict(cells(found["preference"]))
    assert shown["RL-CAI, all, accuracy"].text == f"{100 * accuracy['value']:.1f}"


def test_examples_are_chosen_by_the_rule_that_it_states(run: Path, page: Html) -> None:
    ids = [f"chain-{number}" for number in range(CHAINS)]
    by_rule = sorted(ids, key=lambda name: sha256(name.encode()).hexdigest())[:10]
    (fold,) = (block for block in sections(run)["chains"].blocks if block.kind == "fold")
    assert [card.id for card in fold.blocks] == by_rule
    assert fold.warns
    assert f"The 10 chains of {CHAINS} whose ids have the smallest SHA-256" in page.text
    card = fold.blocks[0]
    assert [step.principle for step in card.steps] != []
    rebuilt = "".join(piece.text for piece in card.steps[-1].changes if piece.kind != "removed")
    assert rebuilt in ("", REFUSAL)


def test_a_broken_revision_is_not_what_the_next_one_is_compared_with(tmp_path: Path) -> None:
    made = chain(1)
    first, second = made.rounds
    broken = first.model_copy(update={"revision": sample("the the the", "looped")})
    same = second.model_copy(update={"revision": sample(made.response.text)})
    refused, again = (
        second.model_copy(update={"revision": sample(REFUSAL)}) for _ in ("round 3", "round 4")
    )
    rounds = (broken, same, refused, again)
    run = write_run(tmp_path, chains=[made.model_copy(update={"rounds": rounds})])
    (fold,) = (block for block in sections(run)["chains"].blocks if block.kind == "fold")
    steps = fold.blocks[0].steps
    assert steps[0].flags == ["looped"] and steps[0].changes
    assert steps[1].changes == (), "the response was revised again, and left as it was"
    assert steps[2].changes and steps[3].changes == ()


def test_every_warning_is_there(run: Path, tmp_path: Path) -> None:
    (run / "notes.json").write_text('["3 evaluation prompts are also trained on"]')
    (run / "skipped-prompts.red_team.jsonl").write_text("{}\n{}\n")
    try:
        warned = dict(sections(run)["warnings"].blocks[0].items)
    finally:
        (run / "notes.json").unlink()
        (run / "skipped-prompts.red_team.jsonl").unlink()
    assert warned["RL-CAI, training"].startswith("It was stopped: step 4: the mean KL")
    assert warned["finetuning SL-CAI"] == "3 texts left out: too long."
    assert warned["inputs"].startswith("2 malformed lines of the prompts set aside")
    metrics = small_metrics("rl_cai")
    labels = metrics["arms"]["rl_cai"]["labels"]
    labels["contrast"]["warning"] = "few pairs differ"
    labels["account"] |= {"unreadable": 2, "not_asked": 1, "refusals": 5}
    metrics["arms"]["rl_cai"]["along"][-1]["monitors"]["length"]["flagged"] = True
    metrics["revisions"]["left_out"] = 7
    metrics["policies"]["sl_cai"]["flagged"] = {"value": 0.5, "low": 0.3, "high": 0.7, "n": 24}
    more = small_folder(tmp_path, metrics=metrics)
    said = [f"{about}: {what}" for about, what in sections(more)["warnings"].blocks[0].items]
    for begin in (
        "critique and revision: 7 of 48 revisions left out",
        "RL-CAI, labels: few pairs differ",
        "RL-CAI, labels: 2 comparisons could not be read",
        "RL-CAI, labels: 1 comparison without a usable pair",
        "RL-CAI, labels: 5 readings refused",
        "RL-CAI, monitors: Length flagged at 1 of 3 snapshots",
        "SL-CAI, answers: 12 of 24 are broken in form",
    ):
        assert any(line.startswith(begin) for line in said), (begin, said)


def test_other_judges_are_shown_with_what_they_left_out(tmp_path: Path) -> None:
    metrics = small_metrics("rl_cai")
    share = {"value": 0.1, "low": 0.05, "high": 0.2, "n": 12}
    verdicts = {"pairings": 60, "same": 4, "ties": 3, "unreadable": 2, "orders_disagree": share}
    metrics["ai_judge"] = {
        "model": "somebody",
        "elo": {goal: metrics["elo"][goal] for goal in ("harmlessness", "helpfulness")},
        **dict.fromkeys(("harmlessness", "helpfulness"), verdicts),
    }
    mean = {"value": 2.5, "low": 2.25, "high": 2.75, "n": 12}
    metrics["harm_score"] = {
        "policies": {"sl_cai": {"mean": mean, "prompts": 12, "too_long": 1}},
        "report": {"n": 30, "pearson": share, "r_squared": None},
    }
    found = sections(small_folder(tmp_path, metrics=metrics))
    shown = dict(cells(found["judges"]))
    assert shown["SL-CAI, harm score"] == ("2.50", "2.25 to 2.75", False)
    assert shown["R squared, on held-out ratings"].text == "–"
    assert (
        shown["RL-CAI, harmlessness Elo"]
        == dict(cells(found["results"]))["RL-CAI, harmlessness Elo"]
    )
    said = [block.text for block in found["judges"].blocks if block.kind == "paragraph"]
    assert said[0].startswith("harmlessness: 60 pairings, 4 of the same text, 3 ties, 2 unreadable")
    warned = dict(found["warnings"].blocks[0].items)
    assert warned["AI judge of helpfulness"] == "2 pairings could not be read: in no rating."
    assert warned["SL-CAI, harm score"] == "1 answer too long for the harm score."


def test_no_warning_is_said_too(tmp_path: Path) -> None:
    judged = {"policies": {"sl_cai": {"held_out": {}}}, "seconds": {"total": 1.0}}
    run = write_run(tmp_path, chains=[chain(0)], metrics=judged)
    assert sections(run)["warnings"].blocks[0].text == "No warning."


def test_the_command_and_the_constitution_are_there(run: Path, page: Html) -> None:
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["command"] in page.text
    assert manifest["versions"]["torch"] in page.text
    for principle in load_constitution(run / "constitution.yaml").principles:
        assert principle.text in page.text
    drawn = dict(cells(sections(run)["constitution"]))
    assert drawn["no-harm, critiques"] == str(CHAINS)


def test_a_constitution_that_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    run = small_folder(tmp_path)
    (run / "constitution.yaml").unlink()
    manifest = json.loads((run / "run.json").read_text())
    manifest["inputs"]["constitution"] = "0" * 64
    (run / "run.json").write_text(json.dumps(manifest))
    pairs, said = sections(run)["constitution"].blocks
    assert ("fingerprint (SHA-256)", "0" * 64) in pairs.pairs
    assert said.text.startswith("The run did not keep its constitution")


def test_a_run_in_progress_has_what_its_records_give(tmp_path: Path) -> None:
    run = small_folder(tmp_path)
    (run / "metrics.json").unlink()
    found = sections(run)
    assert {"preference"} == set(SECTIONS) - set(found) - {"rounds"}
    shown = dict(cells(found["results"]))
    metrics = small_metrics("rl_cai")
    share = metrics["policies"]["rl_cai"]["held_out"]["harmful_compliance"]
    assert shown["RL-CAI, harmful compliance"].text == f"{100 * share['value']:.1f}"
    assert not [name for name in shown if "Elo" in name]
    labels = dict(cells(found["labels"]))
    assert labels["RL-CAI, accuracy"].text == "–", "nobody judged it yet"
    assert labels["RL-CAI, the same, all pairs"].interval
    assert "not finished" in found["warnings"].blocks[0].items[0][1]


def test_elo_counts_from_sft_where_another_policy_is_the_same() -> None:
    at_zero = {"value": 0.0, "low": 0.0, "high": 0.0, "n": 9}
    assert zero({"harmlessness": {"helpful_rlhf": at_zero, "sft": at_zero}}) == "SFT"
    assert zero({"harmlessness": {"mine": at_zero}}) == "mine"
    assert zero({}) == "SL-CAI"


def test_a_run_that_has_hardly_begun_is_reported(tmp_path: Path) -> None:
    run = write_run(tmp_path, chains=[chain(0)])
    write_history(run, 1)
    text = Html(write_page([run]).read_text()).text
    assert "in progress" in text
    assert "PPO, 1 steps, ended: not yet" in text


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has the corpus wherever a model or a person may have written something."""
    folder = tmp_path_factory.mktemp("hostile")
    per_chain = [TEXTS[i : i + 8] for i in range(0, len(TEXTS), 8)][:10]
    chains = []
    for number, texts in enumerate(per_chain):
        prompt, response, *others = texts * 2
        made = chain(number, id=f"{texts[0]}{number}", tags=tuple(texts[:2]))
        rounds = [
            round_.model_copy(update={"principle": a, "critique": sample(b), "revision": sample(c)})
            for round_, (a, b, c) in zip(
                made.rounds, zip(*[iter(others)] * 3, strict=False), strict=False
            )
        ]
        chains.append(
            made.model_copy(
                update={
                    "prompt": Conversation.of(prompt),
                    "response": sample(response),
                    "rounds": tuple(rounds),
                }
            )
        )
    metrics = small_metrics(CORPUS[0], CORPUS[2])
    run = small_folder(folder, chains=chains, metrics=metrics, name=CORPUS[1])
    (run / "notes.json").write_text(json.dumps(CORPUS))
    write_result(run, "sft", "finetune.json", losses=[[1, 1.0], [2, 0.5]])
    return run


def test_model_text_is_text_in_html(hostile: Path, page: Html) -> None:
    found = Html(write_page([hostile], hostile / "report.html").read_text())
    assert set(found.tags) <= set(page.tags) | {"ul", "li"}
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert all(address.startswith("#") for address in found.values("href"))
    said = "".join(found.said)
    for text in TEXTS:
        if "\x00" not in text and text.isprintable():
            assert text in said, text


def test_model_text_is_text_in_markdown(hostile: Path, tmp_path: Path) -> None:
    text = write_page([hostile], tmp_path / "report.md", markdown=True).read_text()
    tokens = MARKDOWN.parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [t for t in (*tokens, *inline) if t.type.startswith("html")]
    kinds = {"text", "text_special", "strong_open", "strong_close", "softbreak"}
    assert {token.type for token in inline} <= kinds
    assert not re.search(r"\w://|www\.", text), "nor an address that looks like a link"
    said = " ".join("".join(c.content for c in t.children) for t in tokens if t.children)
    for text in TEXTS:
        if text.isprintable() and "  " not in text:
            assert text in said, text


def test_markdown_has_the_tables_and_names_the_figures(run: Path, tmp_path: Path) -> None:
    (run / "figures").mkdir(exist_ok=True)
    (run / "figures" / "elo.png").write_bytes(b"")
    beside = tmp_path / "notes"
    beside.mkdir()
    text = write_page([run], beside / "report.md", markdown=True).read_text()
    tokens = MARKDOWN.parse(text)
    headings = [
        following.content
        for token, following in pairwise(tokens)
        if token.type == "heading_open" and token.tag == "h2"
    ]
    assert headings[0] == "Results" and len(headings) == len(SECTIONS)
    assert sum(token.type == "table_open" for token in tokens) > 8
    (image,) = (c for t in tokens for c in t.children or () if c.type == "image")
    source = image.attrs["src"]
    assert isinstance(source, str)
    assert (beside / source).resolve() == (run / "figures" / "elo.png").resolve()
    share = Run(run).metrics["policies"]["sl_cai"]["held_out"]["evasion"]
    assert f"| {100 * share['value']:.1f} ({100 * share['low']:.1f} to " in text


def test_half_a_character_is_no_reason_to_fail(tmp_path: Path) -> None:
    broken = chain(0).model_copy(update={"id": "\ud800", "response": sample("half \udc00")})
    run = write_run(tmp_path, chains=[broken])
    assert "half ?" in write_page([run]).read_text()
    assert "half ?" in write_page([run], markdown=True).read_text()


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    once, again = (
        write_page([run], tmp_path / name, markdown=True).read_bytes() for name in ("a", "b")
    )
    assert once == again


def test_the_command_line(run: Path, tmp_path: Path, cai: Cai) -> None:
    code, out, _ = cai("report", run, "--markdown", "--out", tmp_path / "a.md")
    assert (code, out.strip()) == (0, str(tmp_path / "a.md"))
    assert cai("report", tmp_path)[0] == 2
    assert "is no run folder" in cai("report", tmp_path)[2]
    assert "there is no such folder" in cai("report", run, "--out", tmp_path / "no" / "a.html")[2]


def test_a_place_that_cannot_be_written_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder stands where the report is to go"):
        write_page([run], tmp_path)
    (run / "metrics.json").rename(tmp_path / "kept")
    (run / "metrics.json").write_text("{")
    try:
        with pytest.raises(RunFolderError, match="is damaged"):
            write_page([run], tmp_path / "a.html")
    finally:
        (tmp_path / "kept").rename(run / "metrics.json")


def test_answers_of_the_run_belong_to_its_metrics(run: Path) -> None:
    """The fixture itself: what is compared above was computed from these records."""
    assert set(Run(run).policies) == set(Run(run).metrics["policies"])
    assert {len(found) for found in small_answers().values()} == {24}
