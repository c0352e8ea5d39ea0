from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from constitutional.errors import InputError
from constitutional.evaluation.votes import Vote, elo_of_votes, read_votes

Cai = Callable[..., tuple[int, str, str]]


def vote(prompt: int, outcome: str = "a", **changes: object) -> dict[str, object]:
    return {
        "prompt": f"Question {prompt}?",
        "policy_a": "rl_cai",
        "policy_b": "sl_cai",
        "vote": outcome,
        "goal": "harmlessness",
        "rater": "r1",
        **changes,
    }


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_ratings_by_hand(tmp_path: Path) -> None:
    """30 wins, 6 losses and 4 ties of 40, and one more tie for the prior: 32.5 to 8.5."""
    rows = [vote(i, "a" if i < 30 else "b" if i < 36 else "tie") for i in range(40)]
    votes = read_votes([write(tmp_path / "votes.jsonl", *rows)])
    (table,) = elo_of_votes(votes).values()
    assert (table.zero, table.comparisons, table.tied, table.prompts) == ("sl_cai", 40, 4, 40)
    assert table.ratings["rl_cai"].value == pytest.approx(400 * math.log10(32.5 / 8.5))
    (dropped,) = elo_of_votes(votes, ties="drop").values()
    assert dropped.ratings["rl_cai"].value == pytest.approx(400 * math.log10(30.5 / 6.5))
    (other,) = elo_of_votes(votes, "rl_cai").values()
    assert other.ratings["sl_cai"].value == pytest.approx(-400 * math.log10(32.5 / 8.5))


def test_goals_are_rated_apart_and_the_first_named_is_at_zero() -> None:
    votes = [
        Vote.model_validate(vote(i, side, goal=goal, policy_b="x"))
        for i in range(4)
        for goal, side in (("harmlessness", "a"), ("helpfulness", "b"))
    ]
    tables = elo_of_votes(votes)
    assert {goal: list(table.ratings) for goal, table in tables.items()} == {
        "harmlessness": ["rl_cai", "x"],
        "helpfulness": ["x", "rl_cai"],
    }
    assert {table.zero for table in tables.values()} == {"rl_cai"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([], "expected an object with prompt, policy_a"),
        (vote(2, "A"), "'vote': input should be 'a', 'b' or 'tie', found 'A'"),
        (vote(2, goal="harmless"), "'goal': input should be 'harmlessness' or 'helpfulness'"),
        (vote(2, rater=""), "'rater': string should have at least 1 character"),
        ({k: v for k, v in vote(2).items() if k != "rater"}, "a vote needs 'rater'; found prompt"),
        (vote(2, votes="a"), "unknown key 'votes'; did you mean 'vote'?"),
        (vote(2, policy_a="sl_cai"), "'policy_a' and 'policy_b' are both 'sl_cai'"),
        (vote(1, "b"), "'r1' has voted on these answers before, in .*votes.jsonl, line 1"),
        (vote(1, policy_a="sl_cai", policy_b="rl_cai"), "has voted on these answers before"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, row: object, reason: str) -> None:
    path = write(tmp_path / "votes.jsonl", vote(1), row)
    with pytest.raises(InputError, match=reason) as caught:
        read_votes([path])
    assert (caught.value.path, caught.value.line) == (path, 2)


def test_another_rater_goal_or_answer_is_another_vote(tmp_path: Path) -> None:
    one = vote(1, answer_a="x", answer_b="y")
    others = [
        one | change for change in ({"rater": "r2"}, {"goal": "helpfulness"}, {"answer_a": "z"})
    ]
    first, second = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert len(read_votes([write(first, one), write(second, *others)])) == 4
    with pytest.raises(InputError, match=r"before, in .*one\.jsonl"):
        read_votes([first, write(second, one)])


def test_the_command(cai: Cai, tmp_path: Path) -> None:
    rows = [vote(i, "ab"[i % 2], goal=g) for i in range(8) for g in ("harmlessness", "helpfulness")]
    path = write(tmp_path / "votes.jsonl", *rows)
    code, out, err = cai("eval", "elo", path, "--zero", "rl_cai", "--json")
    assert (code, err) == (0, "")
    tables = json.loads(out)
    assert set(tables) == {"harmlessness", "helpfulness"}
    assert tables["helpfulness"]["ratings"]["rl_cai"]["value"] == 0
    code, out, err = cai("eval", "elo", path)
    assert (code, err) == (0, "")
    assert "8 votes on 8 prompts, raters: 1" in " ".join(out.split())


def test_the_command_refuses_in_one_sentence(cai: Cai, tmp_path: Path) -> None:
    path = write(tmp_path / "votes.jsonl", vote(1), vote(2, goal="helpfulness"))
    code, out, err = cai("eval", "elo", path, "--zero", "sl")
    assert (code, out) == (2, "")
    assert err.startswith("cai: harmlessness: 'sl', which is to be at 0, is in no comparison;")
    code, out, err = cai("eval", "elo", path)
    assert (code, out) == (2, "")
    assert "expected at least two, found 1" in err
    assert len(err.splitlines()) == 1
