"""Which principles labels follow: by a tester, and by the readings that stand on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import worlds

from constitutional.constitution import save_constitution
from constitutional.errors import InputError
from constitutional.instrument import testimony
from constitutional.instrument.auditing import Audit, audit, stored_readings
from constitutional.runs import QuietProgress, RunFolder
from constitutional.runs.records import Comparison

OURS = worlds.constitution(
    worlds.principle("red"),
    worlds.principle("red", "Which of these responses has {} in it?"),
    worlds.principle("green"),
    worlds.principle("blue"),
)


def audited(folder: Path, comparisons: list[Comparison]) -> Audit:
    with RunFolder.open(folder, {"name": "audit"}, command="test") as run:
        said = testimony.testify(
            run,
            "testimony",
            worlds.tester(),
            OURS,
            comparisons,
            block=8,
            seed=0,
            progress=QuietProgress(),
        )
    return audit(OURS.principles, comparisons, said, said_by="test", seed=0)


def test_labels_that_follow_one_principle_and_oppose_another(tmp_path: Path) -> None:
    labelled = worlds.comparisons(("red",), 160)
    # where red is silent, the answer that names green loses
    labelled = [
        c
        if c.prob_a != 0.5 or ("green" in c.a) == ("green" in c.b)
        else c.model_copy(update={"prob_a": 0.0 if "green" in c.a else 1.0})
        for c in labelled
    ]
    found = audited(tmp_path, labelled)
    red, again, green, blue = found.principles
    sided = [c for c in labelled if ("red" in c.a) != ("red" in c.b)]
    assert red.speaks == len(sided)
    assert red.agreement is not None
    assert red.agreement.value == 1.0
    assert red.standing == "followed"
    assert red.adds
    assert (again.same_as, again.weight) == (red.id, None)
    assert again.agreement == red.agreement
    assert green.standing == "opposed"
    assert green.weight is not None
    assert green.weight.high < 0
    # by hand: of the pairs with a side on which blue takes one, those where it is the label's
    told = [c for c in labelled if c.prob_a != 0.5 and ("blue" in c.a) != ("blue" in c.b)]
    assert blue.agreement is not None
    right = sum(("blue" in c.a) == (c.prob_a == 1.0) for c in told)
    assert blue.agreement.value == pytest.approx(right / len(told))
    assert found.without_side == sum(c.prob_a == 0.5 for c in labelled)
    assert found.together is not None
    assert found.together.value > 0.95


def test_shares_by_hand() -> None:
    rows = worlds.comparisons(("red",), 4)
    labels = (1.0, 1.0, 0.0, 0.5)
    said = ({"p": 0.9, "q": 0.5}, {"p": 0.2, "q": 0.5}, {"p": 0.5, "q": 0.5}, {"p": 0.9, "q": 0.9})
    labelled = [
        worlds.with_readings(row, **readings).model_copy(update={"prob_a": label})
        for row, readings, label in zip(rows, said, labels, strict=True)
    ]
    principles = [worlds.principle("red").model_copy(update={"id": name}) for name in "pq"]
    stored = stored_readings(principles, labelled)
    found = audit(principles, stored.comparisons, stored.said, said_by="readings", seed=0)
    shares = [found.one_agrees, found.all_oppose, found.none_speaks]
    assert [share.value if share else None for share in shares] == pytest.approx([1 / 3] * 3)
    p, q = found.principles
    assert (p.speaks, q.speaks) == (3, 1)
    assert p.agreement is not None
    assert p.agreement.value == 0.5
    assert p.standing == "cannot tell"
    assert (q.agreement, q.standing) == (None, "silent")


def test_labels_of_one_principle_each_are_refused() -> None:
    alone = [worlds.with_readings(c, red=0.9) for c in worlds.comparisons(("red",), 8)]
    with pytest.raises(InputError, match="follows it by construction; name a --tester"):
        stored_readings(OURS.principles, alone)
    strangers = [worlds.with_readings(c, x=0.9, y=0.2) for c in alone]
    with pytest.raises(InputError, match="principles that this constitution does not have"):
        stored_readings(OURS.principles, strangers)
    some = [*alone, worlds.with_readings(alone[0], **{OURS.principles[0].id: 0.9, "y": 0.2})]
    stored = stored_readings(OURS.principles, some)
    assert len(stored.comparisons) == 1
    assert sum(stored.left_out.values()) == 8


def test_an_unread_verdict_is_counted_and_says_nothing() -> None:
    rows = [
        worlds.with_readings(c, **{p.id: 0.9 for p in OURS.principles})
        for c in worlds.comparisons(("red",), 6)
    ]
    reading = rows[0].readings[0].model_copy(update={"prob_a": None, "unreadable": "no"})
    pair = tuple(reading.model_copy(update={"order": o}) for o in ("ab", "ba"))
    rows[0] = rows[0].model_copy(update={"readings": (*pair, *rows[0].readings[2:])})
    said = stored_readings(OURS.principles, rows).said
    assert said.log_odds[0, 0] == 0
    found = audit(OURS.principles, rows, said, said_by="readings", seed=0)
    assert [p.unreadable for p in found.principles] == [1, 0, 0, 0]
    assert [p.speaks for p in found.principles] == [5, 6, 6, 6]


def test_the_command_by_stored_readings(
    cai: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    rows = [
        worlds.with_readings(c, **{p.id: 0.9 if "red" in c.a else 0.2 for p in OURS.principles})
        for c in worlds.comparisons(("red",), 30)
    ]
    file, ours = tmp_path / "labels.jsonl", tmp_path / "ours.yaml"
    file.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    save_constitution(OURS, ours)
    code, printed, told = cai("constitution", "audit", file, "--constitution", ours, "--json")
    assert code == 0, told
    assert json.loads(printed)["comparisons"] == 30
    code, printed, _ = cai("constitution", "audit", file, "--constitution", ours)
    assert code == 0
    assert "none speaks" in printed
    code, _, told = cai("constitution", "audit", file)
    assert code == 2
    assert "give --constitution" in told


def test_the_command_asks_the_embedded_model_about_a_run(
    cai: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    from constitutional.constitution import load_constitution
    from constitutional.microworld import data_file, language
    from constitutional.microworld.splits import requests_for

    rows = [
        Comparison(
            id=str(n),
            prompt=language.ask(request, language.QUESTIONS[n % 6]),
            a=language.refuse(request, n % 2, request.harm),
            b=language.help_with(request, n % 3),
            goal="harmlessness",
            labeller="test",
            prob_a=1.0,
        )
        for n, request in enumerate(requests_for("evaluation", held_out=True))
        if request.harm
    ][:40]
    with RunFolder.open(tmp_path / "run", {"name": "x"}, command="test") as run:
        ours = load_constitution(data_file("constitution.yaml"))
        save_constitution(ours, run.path / "constitution.yaml")
        run.stage_records(
            "comparisons_ai",
            inputs={},
            record_type=Comparison,
            items=rows,
            block_size=8,
            make=lambda blocks: (blocks[n] for n in blocks.missing),
            progress=QuietProgress(),
        )
    words = ("constitution", "audit", tmp_path / "run", "--json", "--out", tmp_path / "answers")
    code, printed, told = cai(*words, "--tester", "microworld:pretrained")
    assert code == 0, told
    found = Audit.model_validate_json(printed)
    general = [p for p in found.principles if p.id in ("no-harm", "never-harm")]
    assert [p.standing for p in general] == ["followed", "followed"]
    assert all(p.agreement and p.agreement.value >= 0.9 for p in general)
    code, again, told = cai(*words, "--tester", "microworld:pretrained")
    assert (code, again) == (0, printed)
    assert "already there" in told
