"""The pages of a run, as a browser without a script gets them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.testclient import TestClient
from tests.web.conftest import OURS
from tests.web_runs import (
    ASKED,
    HELP,
    REFUSAL,
    answer,
    chain,
    comparison,
    readings,
    sample,
    write_history,
    write_run,
)

from constitutional.runs.records import Reading
from constitutional.runs.stage import Stage

Browse = Callable[..., TestClient]
SHARE = {"value": 0.125, "low": 0.05, "high": 0.25, "n": 40}
METRICS = {
    "policies": {
        "sl_cai": {"held_out": {"harmful_compliance": SHARE, "reasoned_refusal": SHARE}},
        "rl_cai@4": {"held_out": {"harmful_compliance": SHARE}},
    },
    "elo": {
        "harmlessness": {
            "sl_cai": {"value": 0.0, "low": 0.0, "high": 0.0, "n": 40},
            "rl_cai": {"value": -38.2, "low": -54.0, "high": -22.0, "n": 40},
        }
    },
    "revision_rounds": [{"harmful_compliance": SHARE}, {"harmful_compliance": SHARE}],
    "arms": {
        "rl_cai": {
            "labels": {"contrast": {"warning": "few pairs tell"}},
            "along": [
                {
                    "step": 4,
                    "monitors": {
                        "stock_phrases": {"flagged": True, "estimate": SHARE, "threshold": 0.01}
                    },
                }
            ],
        }
    },
}
EARLY = tuple(round_.model_copy(update={"revision": sample(REFUSAL)}) for round_ in chain(1).rounds)
CHAINS = [*(chain(number) for number in range(60)), chain(60, response=sample(HELP), rounds=EARLY)]
THOUGHT = Reading(
    principle="no-harm",
    order="ab",
    prob_a=0.7,
    reasoning=sample("Let's think step by step: a letter."),
)
PAIRS = [
    comparison(0, readings((0.1, 0.2), (0.3, 0.4))),
    comparison(1, readings((0.9, 0.1), (0.5, None)), prob_a=0.75),
    comparison(2, (THOUGHT,)),
    comparison(3, (), readings=(), prob_a=None, labeller="oracle as human"),
]


@pytest.fixture(scope="module")
def client(browse: Browse, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = tmp_path_factory.mktemp("runs")
    answers = {
        policy: [answer(policy, number, f"{policy} says {number}") for number in range(9)]
        for policy in ("sl_cai", "rl_cai-step-4", "rl_cai")
    }
    answers = {
        stage: [one.model_copy(update={"policy": stage.replace("-step-", "@")}) for one in there]
        for stage, there in answers.items()
    }
    finished = write_run(
        folder / "My Run!",
        chains=CHAINS,
        comparisons={"comparisons_ai": PAIRS[:3], "comparisons_helpfulness": PAIRS[3:]},
        answers=answers,
        metrics=METRICS,
    )
    live = write_run(folder / "live", name="live")
    write_history(live, 3)
    return browse([finished, live])


def page(client: TestClient, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def plain(text: str) -> str:
    """What stands on a page, as one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


def numbers(text: str, what: str = "chains") -> list[int]:
    """The records that a list shows."""
    found = re.findall(rf'class="row-link" data-row href="[^"]*/{what}[^"?]*/(\d+)\?', text)
    return [int(number) for number in found]


# --- overview -----------------------------------------------------------------------------------


def test_the_first_page_names_the_runs(client: TestClient) -> None:
    text = page(client, "/")
    assert 'href="/runs/my-run"' in text and 'href="/runs/live"' in text


def test_a_single_run_is_the_first_page(browse: Browse, tmp_path: Path) -> None:
    answer = browse([write_run(tmp_path / "alone")]).get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/alone")


def test_runs_of_one_name_have_addresses_of_their_own(browse: Browse, tmp_path: Path) -> None:
    for parent in ("a", "b", "c"):
        write_run(tmp_path / parent / "run", name=f"in-{parent}")
    client = browse([tmp_path / parent / "run" for parent in ("a", "b", "c")])
    for name, parent in (("run", "a"), ("run-2", "b"), ("run-3", "c")):
        assert f"<h1>in-{parent}-3</h1>" in page(client, f"/runs/{name}")


def test_the_overview_says_what_came_out(client: TestClient) -> None:
    text = plain(page(client, "/runs/my-run"))
    assert "SL-CAI 12.5% 5.0 to 25.0 12.5% 5.0 to 25.0 – – –" in text
    assert "RL-CAI, step 4 12.5% 5.0 to 25.0 –" in text
    assert "RL-CAI −38 −54 to −22" in text
    assert text.index("SL-CAI 0 0 to 0") < text.index("RL-CAI −38")  # the best first
    assert "RL-CAI, labels few pairs tell" in text
    assert "RL-CAI, monitors Stock phrases flagged at 1 of 1 snapshots, last at step 4" in text
    assert "critique and revision done 61 61" in text
    assert "no-harm Do not help with anything harmful." in text


def test_a_run_that_has_hardly_begun_has_an_overview(client: TestClient) -> None:
    text = page(client, "/runs/live")
    assert "in progress" in plain(text) and "data-live" in text
    assert "data-live" not in page(client, "/runs/my-run")


# --- chains -------------------------------------------------------------------------------------


def test_chains_come_in_pages(client: TestClient) -> None:
    assert numbers(page(client, "/runs/my-run/chains")) == list(range(1, 26))
    assert numbers(page(client, "/runs/my-run/chains?page=3")) == list(range(51, 62))
    assert "page 3 of 3" in plain(page(client, "/runs/my-run/chains?page=3"))
    assert numbers(page(client, "/runs/my-run/chains?page=9")) == []


@pytest.mark.parametrize("odd", ["page=-1", "page=x", "page=1e3", "page=99999999999999", "page=²"])
def test_an_odd_page_is_no_fault(client: TestClient, odd: str) -> None:
    page(client, f"/runs/my-run/chains?{odd}&order=nothing&at=-4&tag=%00")


def test_filters_and_search_narrow_the_list(client: TestClient) -> None:
    text = page(client, "/runs/my-run/chains?last=reasoned_refusal&first=helps&tag=seen")
    found = [number for number in range(60) if number % 3 and number % 2]
    assert numbers(text) == [number + 1 for number in found][:25]
    assert f"Chains {len(found)}" in plain(text)
    assert '<option value="helps" selected>' in text
    assert numbers(page(client, "/runs/my-run/chains?q=number+17+nosy")) == [18]
    text = page(client, "/runs/my-run/chains?q=%22unheard+of%22")
    assert "Nothing matches." in text and 'value="&#34;unheard of&#34;"' in text


def test_a_chain_shows_each_round(client: TestClient) -> None:
    text = page(client, "/runs/my-run/chains/2")
    assert plain(text).count(ASKED) == 1
    assert "principle no-harm" in plain(text) and "principle avoid-harm" in plain(text)
    assert "Identify specific ways in which the assistant's last response fails" in plain(text)
    assert plain(text).count("The response number 1 is nosy.") == 2
    assert "helps harm 4 of 4" in plain(text)
    assert "REVISION 1" in plain(text).upper() and "unchanged" in plain(text)


def test_what_a_round_changed_is_marked(client: TestClient) -> None:
    text = page(client, "/runs/my-run/chains/2")
    removed = [unescape(t) for t in re.findall(r"<del>(.*?)</del>", text, re.DOTALL)]
    added = [unescape(t) for t in re.findall(r"<ins>(.*?)</ins>", text, re.DOTALL)]
    assert removed == ["Sure, get a clear glass first. Then ", " and keep the pages dry"]
    assert added[0] == "I will not help you "
    assert "<del>" not in page(client, "/runs/my-run/chains/2?show=plain")


def test_against_the_first_answer_an_old_change_shows_again(client: TestClient) -> None:
    """The last chain was changed in its first round, and left as it was in the second."""
    in_each = page(client, "/runs/my-run/chains/61")
    since_the_first = page(client, "/runs/my-run/chains/61?against=first")
    assert [text.count("unchanged</span>") for text in (in_each, since_the_first)] == [1, 0]
    assert since_the_first.count("<ins>") == 2 * in_each.count("<ins>") > 0


def test_the_way_through_what_was_found(client: TestClient) -> None:
    """From a filtered list to a record, on to the next one that matches, and back to its page."""
    listed = "/runs/my-run/chains?first=helps&page=2"
    links = re.findall(r'class="row-link" data-row href="([^"]+)"', page(client, listed))
    text = page(client, unescape(links[0]))
    assert "26 of 41" in plain(text)
    (onward,) = re.findall(r'rel="next" data-key="j" href="([^"]+)"', text)
    assert unescape(onward) == unescape(links[1])
    (before,) = re.findall(r'rel="prev" data-key="k" href="([^"]+)"', text)
    assert "25 of 41" in plain(page(client, unescape(before)))
    (up,) = re.findall(r'data-key="u" href="([^"]+)"', text)
    assert unescape(up) == "/runs/my-run/chains?first=helps&page=2"


def test_what_was_searched_for_is_in_the_way_back(client: TestClient) -> None:
    asked = {"q": 'mayor\'s & "is nosy" #%+', "tag": "seen"}
    text = client.get("/runs/my-run/chains", params=asked).text
    (link, *_) = re.findall(r'class="row-link" data-row href="([^"]+)"', text)
    record = page(client, unescape(link))
    (up,) = re.findall(r'data-key="u" href="([^"]+)"', record)
    assert dict(parse_qsl(urlsplit(unescape(up)).query)) == asked


def test_a_plain_link_to_a_record_works_alone(client: TestClient) -> None:
    text = page(client, "/runs/my-run/chains/61")
    assert 'rel="next"' not in text and "chain-60" in text
    # a place in a list that is another by now
    assert 'rel="next"' not in page(client, "/runs/my-run/chains/61?at=3")


@pytest.mark.parametrize(
    "address",
    [
        *("/runs/my-run/chains/0", "/runs/my-run/chains/62", f"/runs/my-run/chains/{10**30}"),
        *(f"/runs/my-run/chains/{'9' * 5000}", "/runs/my-run/chains/-1"),
        *("/runs/my-run/chains/x", "/runs/none", "/runs/none/chains", "/nowhere"),
        *("/runs/my-run/comparisons/comparisons_ai/4", "/runs/my-run/comparisons/no_stage/1"),
    ],
)
def test_what_is_not_there_is_a_page_too(client: TestClient, address: str) -> None:
    assert "There is no such page." in page(client, address, 404)


# --- comparisons --------------------------------------------------------------------------------


def test_comparisons_are_ordered_by_disagreement(client: TestClient) -> None:
    def found(query: str) -> list[str]:
        text = page(client, f"/runs/my-run/comparisons{query}")
        return re.findall(r'data-row href="/runs/my-run/comparisons/([^"?]+)', text)

    ai, human = "comparisons_ai/", "comparisons_helpfulness/"
    assert found("") == [f"{ai}1", f"{ai}2", f"{ai}3", f"{human}1"]
    assert found("?order=orders")[0] == f"{ai}2"
    assert found("?order=principles")[0] == f"{ai}1"
    assert found("?labeller=oracle+as+human") == [f"{human}1"]
    assert found("?label=a+better") == [f"{ai}2"]
    assert found("?reading=with+reasoning") == [f"{ai}3"]


def test_a_comparison_shows_both_orders(client: TestClient) -> None:
    text = plain(page(client, "/runs/my-run/comparisons/comparisons_ai/1"))
    assert HELP in text and REFUSAL in text
    assert "no-harm Choose the response that better follows this principle" in text
    assert "10.00% 20.00% 0.10 15.00%" in text
    assert "30.00% 40.00% 0.10 35.00%" in text
    assert "ANSWER B better by the label" in re.sub("answer b", "ANSWER B", text, flags=re.I)


def test_what_could_not_be_read_is_no_number(client: TestClient) -> None:
    text = plain(page(client, "/runs/my-run/comparisons/comparisons_ai/2"))
    assert "50.00% – – 50.00%" in text
    assert "unreadable, the answer names both (A) and (B)" in text
    text = plain(page(client, "/runs/my-run/comparisons/comparisons_helpfulness/1"))
    assert "Label –" in text and "better by the label" not in text


def test_the_chain_of_thought_stands_with_its_reading(client: TestClient) -> None:
    text = plain(page(client, "/runs/my-run/comparisons/comparisons_ai/3"))
    assert "A shown first: 70.00%" in text
    assert "Let's think step by step: a letter." in text


def test_differences_of_two_answers_stand_on_their_sides(client: TestClient) -> None:
    text = page(client, "/runs/my-run/comparisons/comparisons_ai/1?show=differences")
    a, b = re.findall(r'aria-label="Answer [AB]">(.*?)</section>', text, re.DOTALL)
    assert "<del>" in a and "<ins>" not in a
    assert "<ins>" in b and "<del>" not in b


# --- training -----------------------------------------------------------------------------------


def test_the_curves_of_a_live_training_grow(browse: Browse, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "grows")
    write_history(folder, 3)
    mine = browse([folder])
    text = page(mine, "/runs/grows/training")
    assert "PPO, step 3 of 8, in progress" in plain(text) and "data-live" in text
    assert "RL-CAI: 0.250 at step 1, 0.750 at step 3" in text
    write_history(folder, 5)
    assert "RL-CAI: 0.250 at step 1, 1.250 at step 5" in page(mine, "/runs/grows/training")


def test_the_losses_of_a_live_finetuning_grow(browse: Browse, tmp_path: Path) -> None:
    """From the Trainer's own files; a checkpoint that is not whole is no news."""
    folder = write_run(tmp_path / "grows")
    Stage(folder / "stages" / "sl_cai", "artifact").begin({})
    mine = browse([folder])

    def checkpoint(step: int, *, whole: bool) -> None:
        made = folder / "stages" / "sl_cai" / "work" / f"checkpoint-{step}"
        made.mkdir(parents=True)
        logged = [{"step": n, "loss": 1 / n} for n in range(10, step + 1, 10)]
        state = {"log_history": [*logged, {"step": step, "train_runtime": 1.0}]}
        (made / "trainer_state.json").write_text(json.dumps(state))
        if whole:
            (made / "complete").write_text("")

    assert "Loss" not in page(mine, "/runs/grows/training")
    checkpoint(20, whole=True)
    said = "Loss: finetuning SL-CAI, by step. loss: 0.100 at step 10, 0.050 at step 20"
    assert said in page(mine, "/runs/grows/training")
    checkpoint(100, whole=False)
    assert said in page(mine, "/runs/grows/training")
    checkpoint(40, whole=True)
    assert "loss: 0.100 at step 10, 0.025 at step 40" in page(mine, "/runs/grows/training")


def test_snapshots_answer_the_same_prompts(client: TestClient) -> None:
    text = plain(page(client, "/runs/my-run/training"))
    for number in range(4):
        parts = [f"{policy} says {number}" for policy in ("sl_cai", "rl_cai-step-4", "rl_cai")]
        places = [text.index(part) for part in parts]
        assert places == sorted(places)
    assert "says 4" not in text
    assert "says 8" in plain(page(client, "/runs/my-run/training?page=3"))
    page(client, "/runs/my-run/training?page=77")


# --- the warning --------------------------------------------------------------------------------


def test_red_team_text_comes_after_a_warning(browse: Browse, tmp_path: Path) -> None:
    client = browse([write_run(tmp_path / "run", chains=CHAINS[:5])], warned=False)
    assert client.get("/runs/run").status_code == 200
    for address in ("/runs/run/chains?tag=seen", "/runs/run/comparisons", "/runs/run/training"):
        answer = client.get(address)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/warning?next=%2Fruns%2Frun%2F")
    shown = page(client, client.get("/runs/run/chains?tag=seen").headers["location"])
    (action,) = re.findall(r'<form method="post" action="([^"]+)"', shown)
    answer = client.post(unescape(action), headers=OURS)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/run/chains?tag=seen")
    assert "max-age" not in answer.headers["set-cookie"].lower()  # for this session alone
    assert client.get("/runs/run/chains?tag=seen").status_code == 200


@pytest.mark.parametrize("to", ["//evil.example", "/\\evil.example", "https://evil.example/x"])
def test_the_warning_leads_nowhere_else(client: TestClient, to: str) -> None:
    answer = client.post("/warning", params={"next": to}, headers=OURS)
    location = answer.headers["location"]
    assert re.match(r"/[^/\\]", location)


# --- trouble ------------------------------------------------------------------------------------


def test_a_record_that_is_gone_is_a_sentence(browse: Browse, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", chains=CHAINS[:4])
    client = browse([folder])
    records = folder / "stages" / "critique_revision" / "records.jsonl"
    whole = records.read_bytes()
    records.write_bytes(b" " * len(whole))
    assert "line 2: holds no Chain" in plain(page(client, "/runs/run/chains/2", 500))
    records.unlink()
    assert "records.jsonl" in plain(page(client, "/runs/run/chains/2", 500))


def test_a_damaged_run_is_a_sentence(browse: Browse, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", chains=CHAINS[:4])
    client = browse([folder])
    (folder / "metrics.json").write_text("{ no json")
    assert "metrics.json is damaged" in plain(page(client, "/runs/run", 500))
