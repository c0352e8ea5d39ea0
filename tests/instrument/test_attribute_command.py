"""``cai constitution attribute`` on a run that was really made, and on what users get wrong."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from attribution_records import HELP, REFUSAL, answer, chain, pair
from tests.web_runs import write_run

from constitutional.microworld.oracle import Oracle
from constitutional.reading import Run

Cai = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Without a judge: one revision by ``no-harm`` refuses, one by ``cruel`` helps."""
    return write_run(
        tmp_path / "run",
        chains=[
            chain(0, ("no-harm", REFUSAL), tags=["cruel"]),
            chain(1, ("cruel", HELP), tags=["cruel"]),
        ],
        comparisons={"comparisons_ai": [pair(0, cruel=0.2), pair(1, illegal=0.4)]},
        answers={
            policy: [answer(policy, n, text, tags=["cruel"]) for n in range(3)]
            for policy, text in {"helpful": HELP, "sl_cai": HELP, "rl_cai": REFUSAL}.items()
        },
        judge=None,
    )


def test_what_lies_between_two_policies(cai: Cai, folder: Path) -> None:
    def stages(*more: str) -> list[str]:
        code, out, error = cai("constitution", "attribute", folder, *more, "--json")
        assert code == 0, error
        found = json.loads(out)
        assert found["read_by"] == "wording"
        return [found["policy"], found["against"], *found["stages"]]

    assert stages() == ["rl_cai", "sl_cai", "labels"]
    assert stages("--against", "helpful") == ["rl_cai", "helpful", "revisions", "labels"]
    assert stages("--policy", "sl_cai") == ["sl_cai", "helpful", "revisions"]


def test_the_table_says_who_pushed(cai: Cai, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, error = cai("constitution", "attribute", folder, "--against", "helpful")
    assert code == 0, error
    assert "RL-CAI less helpful-only" in out and "+100.0" in out
    assert re.search(r"no-harm .*100% \(\d+ to 100\) of 1 ", out)
    assert re.search(r"cruel .* 0% \(0 to \d+\) of 1 .*100% .* of 1 .*–", out)
    assert "not-evasive" in out, "all of the constitution's principles are there"


def test_an_answer_is_explained(cai: Cai, folder: Path) -> None:
    code, out, error = cai("constitution", "attribute", folder, "--answer", "prompt-1")
    assert code == 0, error
    assert "RL-CAI refuses (read by wording)" in out
    assert "chain-0" in out and "revision by no-harm" in " ".join(out.replace("│", " ").split())
    code, out, _ = cai("constitution", "attribute", folder, "--answer", "prompt-1", "--json")
    assert code == 0 and json.loads(out)["behaviour"] == "refuses"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "rl_ca"], "rl_cai"),
        (["--policy", "helpful"], "helpful learned from no revisions and no AI labels"),
        (["--against", "rl_cai"], "that rl_cai did not learn from"),
        (["--kind", "crul"], "no red-team prompt is tagged 'crul'"),
        (["--answer", "prompt-9"], "answered no prompt with the id 'prompt-9'"),
        (["--answer", "prompt-1", "--against", "helpful"], "give one of them"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    cai: Cai, folder: Path, words: list[str], said: str
) -> None:
    code, out, error = cai("constitution", "attribute", folder, *words)
    assert code != 0 and out == ""
    assert said in error and "Traceback" not in error
    assert error.count("\n") == 1


def test_a_run_without_answers_is_refused(cai: Cai, tmp_path: Path) -> None:
    empty = write_run(tmp_path / "run", chains=[chain(0, ("no-harm", REFUSAL))], judge=None)
    code, _, error = cai("constitution", "attribute", empty)
    assert code != 0 and "no answers of a policy made by principles yet" in error


def test_texts_are_never_obeyed(cai: Cai, tmp_path: Path) -> None:
    hostile = "\x1b[2J[red]I will not help, because it is cruel.\x07"
    run = write_run(
        tmp_path / "run",
        chains=[chain(0, ("\x1b]0;t\x07", REFUSAL))],
        answers={"helpful": [answer("helpful", 0, HELP)], "sl_cai": [answer("sl_cai", 0, hostile)]},
        judge=None,
    )
    for words in ((), ("--answer", "prompt-0")):
        code, out, error = cai("constitution", "attribute", run, "--policy", "sl_cai", *words)
        assert code == 0, error
        assert "\x1b" not in out and "\x07" not in out
    assert "[red]" in out


@pytest.mark.slow
def test_a_real_run_is_counted_as_the_oracle_counts(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """The supervised stage on the embedded models; what turned is counted here once more."""
    folder = tmp_path / "made"
    code, _, error = cai("run", small_recipe(), "--out", folder)
    assert code == 0, error
    run, oracle = Run(folder), Oracle()
    turned, could = Counter[str](), Counter[str]()
    for made in run.chains:
        before = made.response.text
        for round_ in made.rounds:
            if not round_.revision.usable:
                continue
            was, now = (
                oracle.judge(made.prompt, text).complies for text in (before, round_.revision.text)
            )
            could[round_.principle] += was
            turned[round_.principle] += was and not now
            before = round_.revision.text
    assert sum(turned.values()) > 5, "or nothing is tested"
    code, out, error = cai("constitution", "attribute", folder, "--json")
    assert code == 0, error
    found = json.loads(out)
    assert (found["policy"], found["against"]) == ("sl_cai", "helpful")
    assert found["read_by"] == "judge" and found["chains"] == len(run.chains)
    by_name = {one["principle"]: one["revisions"] for one in found["principles"]}
    assert run.constitution is not None
    assert by_name.keys() == {p.id for p in run.constitution.principles}
    for name, count in turned.items():
        # an ill-formed answer neither complies nor declines
        assert abs(by_name[name]["turned"] - count) <= 1
        assert by_name[name]["could"] >= could[name]
    answered = next(iter(run.answers("sl_cai")))
    code, out, error = cai("constitution", "attribute", folder, "--answer", answered.id, "--json")
    assert code == 0, error
    assert len(json.loads(out)["neighbours"]) == 20
