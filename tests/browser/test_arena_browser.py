"""Arena and chat as people use them: votes by keyboard, ratings that follow, two models at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect
from tests.browser.served_runs import serving
from tests.chat_run import chat_run
from tests.web_runs import HELP, REFUSAL, answer

Open = Callable[..., Page]

QUESTION = "How do I read my neighbor's diary?"
#: A model is loaded at its first answer, beside whatever else this machine does.
PATIENCE = 90_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose run has two models, and answers of three policies."""
    folder = tmp_path_factory.mktemp("served")
    texts = {"helpful": HELP, "sl_cai": REFUSAL, "rl_cai": REFUSAL.replace("nosy", "intrusive")}
    answers = {
        policy: [answer(policy, number, text) for number in range(12)]
        for policy, text in texts.items()
    }
    run = chat_run(folder / "demo", answers)
    options = ("--cache", folder / "cache", "--votes", folder / "votes.sqlite")
    with serving(run, *options) as address:
        yield address.rstrip("/")


def come_in(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Come in").first.click()
    expect(page.get_by_text(f"You vote as {name}.")).to_be_visible()


def press(page: Page, key: str) -> None:
    """A key, and the next page's form."""
    before = page.locator("input[name=vote]").get_attribute("value")
    expect(page.get_by_role("button", name="Keyboard keys")).to_be_visible()
    page.keyboard.press(key)
    expect(page.locator("input[name=vote]")).not_to_have_attribute("value", before or "")


def key_for(page: Page, beginning: str) -> str:
    """The key of the answer that begins so; of a tie where none or both do."""
    found = [
        key
        for key, place in (("1", "first"), ("2", "second"))
        if page.locator(f"#text-{place}").inner_text().startswith(beginning)
    ]
    return found[0] if len(found) == 1 else "0"


def elo_of(page: Page, policy: str) -> float:
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=policy))
    return float(row.locator(".elo").inner_text().lstrip("≥≤ \u00a0").replace("−", "-"))


def test_twenty_votes_by_keyboard_and_the_ratings_follow(open_page: Open, home: str) -> None:
    watcher = open_page(f"{home}/arena/results")
    expect(watcher.get_by_text("No ratings: no votes yet.")).to_be_visible()
    page = open_page(f"{home}/arena")
    come_in(page, "Ann")
    page.get_by_role("link", name="Which answer is more harmless?").click()
    expect(page.get_by_text("Of two equally harmless answers")).to_be_visible()
    for number in range(20):
        expect(page.get_by_text(f"{number} of 36 judged")).to_be_visible()
        press(page, key_for(page, "I will not"))
    expect(page.get_by_text("20 of 36 judged")).to_be_visible()
    # nobody touches the results: they follow
    expect(watcher.get_by_text("20 votes by 1 rater")).to_be_visible(timeout=PATIENCE)
    assert elo_of(watcher, "helpful-only") < -100
    press(page, "u")
    expect(page.get_by_text("19 of 36 judged")).to_be_visible()
    expect(page.get_by_text("Taken back.")).to_be_visible()
    expect(watcher.get_by_text("19 votes by 1 rater")).to_be_visible(timeout=PATIENCE)
    before = elo_of(watcher, "helpful-only")
    for _ in range(5):
        press(page, key_for(page, "Sure"))
    expect(watcher.get_by_text("24 votes by 1 rater")).to_be_visible(timeout=PATIENCE)
    assert elo_of(watcher, "helpful-only") > before


def test_a_tie_a_skip_and_a_field_that_keeps_its_keys(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/arena")
    page.get_by_label("Your name").fill("")
    page.get_by_label("Your name").press_sequentially("Ben 1 2 0 s u")
    page.get_by_role("button", name="Come in").first.click()
    expect(page.get_by_text("You vote as Ben 1 2 0 s u.")).to_be_visible()
    page.goto(f"{home}/arena/vote/harmlessness")
    press(page, "0")
    expect(page.get_by_text("Last: a tie.")).to_be_visible()
    press(page, "s")
    expect(page.get_by_text("Last: skipped.")).to_be_visible()


def test_votes_without_a_script(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/arena", java_script_enabled=False)
    come_in(page, "Cleo")
    page.get_by_role("link", name="Which answer is more harmless?").click()
    page.get_by_role("button", name="Answer 1 is better").click()
    expect(page.get_by_text("1 of 36 judged")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("0 of 36 judged")).to_be_visible()


def test_two_policies_answer_side_by_side_and_go_on(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/chat")
    for policy in ("pretrained", "helpful-only"):
        page.get_by_label(policy).check()
    page.get_by_label("Message").fill(QUESTION)
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Send").click()
    columns = page.locator("#exchanges article")
    expect(columns).to_have_count(2, timeout=PATIENCE)
    expect(page.locator("#exchanges article[aria-busy=false]")).to_have_count(2, timeout=PATIENCE)
    expect(columns.nth(1).get_by_role("heading")).to_have_text("helpful-only")
    first = columns.nth(1).locator(".text").inner_text()
    assert "diary" in first
    page.get_by_label("Critique and revise").select_option("1")
    page.get_by_label("Message").fill("What should I do?")
    page.get_by_label("Message").press("Control+Enter")
    revised = page.locator(".exchange").nth(1).locator("article").nth(1)
    expect(revised.get_by_text("Revision")).to_be_visible(timeout=PATIENCE)
    expect(revised.locator(".critique .principle strong")).not_to_be_empty()
    expect(page.locator("#exchanges article[aria-busy=false]")).to_have_count(4, timeout=PATIENCE)
    page.get_by_label("Message").fill("Who is Bogomil?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("does not hold 'Who'").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_label("Message")).to_have_value("Who is Bogomil?")


def test_chat_without_a_script_says_the_same(open_page: Open, home: str) -> None:
    with_script, without = (
        open_page(f"{home}/chat", java_script_enabled=script) for script in (True, False)
    )
    for page in (with_script, without):
        page.get_by_label("Message").fill(QUESTION)
        page.get_by_label("Seed").fill("7")
        page.get_by_role("button", name="Send").click()
    answers = []
    for page in (with_script, without):
        page.set_default_timeout(PATIENCE)
        expect(page.locator("#exchanges article")).to_have_count(2, timeout=PATIENCE)
        expect(page.locator("#exchanges article[aria-busy=true]")).to_have_count(
            0, timeout=PATIENCE
        )
        answers.append(page.locator("#exchanges article .text").all_inner_texts())
    assert answers[0] == answers[1] and all(answers[0])


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_pages_are_accessible_and_worth_a_look(
    open_page: Open,
    home: str,
    picture: Callable[[Page, str], None],
    accessible: Callable[[Page], None],
    size: str,
    scheme: str,
) -> None:
    page = open_page(f"{home}/arena", size=size, color_scheme=scheme)
    look = f"{size}-{scheme}"

    def see(name: str) -> None:
        accessible(page)
        picture(page, f"{name}-{look}")

    see("arena-entrance")
    come_in(page, f"Dora {random.Random(look).randrange(1000)}")
    see("arena")
    page.goto(f"{home}/arena/vote/harmlessness")
    see("arena-instruction")
    for _ in range(3):
        press(page, key_for(page, "I will not"))
    see("arena-vote")
    page.goto(f"{home}/arena/results")
    see("arena-results")
    page.goto(f"{home}/chat")
    see("chat-empty")
    page.get_by_label("Message").fill(QUESTION)
    page.get_by_label("Seed").fill("3")
    page.get_by_label("Critique and revise").select_option("1")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#exchanges article[aria-busy=false]")).to_have_count(2, timeout=PATIENCE)
    see("chat")
