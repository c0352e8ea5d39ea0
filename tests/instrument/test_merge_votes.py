"""From statements and votes to a constitution, against numbers computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from constitutional.constitution import load_constitution
from constitutional.errors import InputError
from constitutional.instrument.merging import MergeConfig, merge
from constitutional.instrument.opinions import (
    clustered,
    consensus,
    opinion_groups,
    positions,
    silhouette,
)
from constitutional.instrument.stating import comparison_question
from constitutional.instrument.votes import Ballots, Statement, read_votes

# Reading


def export(folder: Path, comments: str, matrix: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "comments.csv").write_text(comments, encoding="utf-8")
    (folder / "participants-votes.csv").write_text(matrix, encoding="utf-8")
    return folder


COMMENTS = (
    "timestamp,comment-id,author-id,agrees,disagrees,moderated,comment-body\n"
    '1,0,9,2,0,1,"The AI should\nbe honest."\n'
    "1,1,9,1,1,0,=HYPERLINK(\x07)\n"
    "1,2,9,0,2,-1,Buy my book.\n"
    "1,3,9,0,0,0,...\n"
)
MATRIX = (
    "participant,group-id,n-comments,n-votes,n-agree,n-disagree,0,1,2,3\n"
    "7,0,1,3,1,2,1,-1,-1,\n"
    "8,1,0,3,2,1,1,1,-1,\n"
    "9,,0,1,0,0,,0,,\n"
)


def test_a_polis_export_is_read_as_data(tmp_path: Path) -> None:
    found = read_votes(export(tmp_path / "polis", COMMENTS, MATRIX))
    assert found.statements == (
        Statement("0", "The AI should be honest."),
        Statement("1", "=HYPERLINK(\x07)"),
    )
    assert found.participants == ("7", "8", "9")
    assert found.votes.tolist() == [[1, -1], [1, 1], [0, 0]]
    assert found.cast.tolist() == [[True, True], [True, True], [False, True]]
    assert found.left_out == {"moderated out": 1, "without words": 1}


def test_the_long_form_is_read(tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text(
        "statement,vote,participant\n"
        "Be kind.,agree,ann\n"
        "Be kind.,-1,bob\n"
        "Be brief.,0,ann\n"
        " Be  kind. ,DISAGREE,ann\n"
    )
    found = read_votes(file)
    assert found.statements == (Statement("1", "Be kind."), Statement("2", "Be brief."))
    assert found.votes.tolist() == [[-1, 0], [-1, 0]]
    assert found.cast.tolist() == [[True, True], [True, False]]
    assert found.left_out == {"votes that the same participant replaced later": 1}


@pytest.mark.parametrize(
    ("comments", "matrix", "sentence"),
    [
        (COMMENTS, MATRIX.replace("9,,0", "8,,0"), "votes.csv, line 4: the participant '8' is"),
        (COMMENTS, MATRIX.replace("1,1,-1,", "1,2,-1,"), "line 3: statement 1 must be 1 or agree"),
        (COMMENTS, MATRIX.replace("0,1,2,3\n", "0,1,2,4\n"), "line 1: column '4' is of no stat"),
        (COMMENTS, MATRIX + "1,2\n", "line 5: expected 10 cells as in the header, found 2"),
        (COMMENTS, MATRIX.replace("2,3\n", "2,2\n"), "the column '2' is there twice"),
        (COMMENTS, MATRIX.replace("1,-1,-1", '1,"-1,-1'), "is no CSV"),
        (COMMENTS, "id\n1\n", "expected the columns participant, found no 'participant'"),
        (COMMENTS.replace("1,3,9", "1,1,9"), MATRIX, "comments.csv, line 6: the statement '1' is"),
        (COMMENTS.replace("0,0,0,...", "0,0,7,..."), MATRIX, "line 6: 'moderated' must be -1"),
        (COMMENTS.split("\n")[0] + "\n", MATRIX, "holds no statement"),
        (COMMENTS, MATRIX.split("\n")[0] + "\n", "holds no participant"),
        (COMMENTS, "", "expected the columns participant"),
    ],
)
def test_bad_exports_are_refused_with_their_line(
    tmp_path: Path, comments: str, matrix: str, sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_votes(export(tmp_path / "polis", comments, matrix))
    assert sentence in str(caught.value)


def test_signs_the_other_way_round_are_refused(tmp_path: Path) -> None:
    turned = MATRIX.replace(",1,2,1,-1,-1,", ",2,1,1,-1,-1,").replace(
        ",2,1,1,1,-1,", ",1,2,1,1,-1,"
    )
    assert turned != MATRIX
    # n-agree 3 and n-disagree 3 tell nothing; with one more agreement they do
    turned = turned.replace("9,,0,1,0,0,,0,,", "9,,0,1,0,1,,1,,")
    with pytest.raises(InputError, match="signs are the other way round"):
        read_votes(export(tmp_path / "polis", COMMENTS, turned))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("participant,statement,vote\na,Be kind.,maybe\n", "line 2: 'vote' must be 1 or agree"),
        ("participant,statement,vote\na,Be kind.,\n", "line 2: 'vote' must be 1 or agree"),
        ("participant,statement,vote\na, ,1\n", "line 2: 'statement' is empty"),
        ("participant,statement,vote\na,...,1\n", "no statement is left: left out 1 without words"),
        ("participant,statement\na,b\n", "found no 'vote'"),
        ("participant,statement,vote\n", "holds no vote"),
    ],
)
def test_bad_long_files_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "votes.csv"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_votes(file)
    assert sentence in str(caught.value)


def test_other_bytes_and_half_an_export_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_bytes(b"participant,statement,vote\na,\xff,1\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_votes(file)
    folder = export(tmp_path / "polis", COMMENTS, MATRIX)
    with pytest.raises(InputError, match="give their folder"):
        read_votes(folder / "comments.csv")
    (folder / "participants-votes.csv").unlink()
    with pytest.raises(InputError, match="no such file"):
        read_votes(folder)


# Opinion groups


def test_consensus_by_hand() -> None:
    assert consensus([3, 1], [4, 2]) == pytest.approx(4 / 6 * 2 / 4)
    assert consensus([0, 9], [0, 9]) == pytest.approx(1 / 2 * 10 / 11)


def test_positions_by_hand() -> None:
    votes = np.array([[1, 1], [-1, -1]], dtype=np.int8)
    everywhere = np.ones((2, 2), bool)
    # one component, (1, 1) / sqrt 2: at sqrt 2 and - sqrt 2
    assert positions(votes, everywhere) == pytest.approx(
        np.array([[2**0.5, 0], [-(2**0.5), 0]]), abs=1e-12
    )


def test_a_vote_that_was_not_cast_moves_nobody() -> None:
    # means (0, 0): the third has cast one vote, of 1 on the first statement
    votes = np.array([[1, 1], [-1, -1], [1, 0], [-1, 0]], dtype=np.int8)
    cast = np.array([[1, 1], [1, 1], [1, 0], [1, 0]], dtype=bool)
    found = positions(votes, cast)
    filled = votes.astype(float)
    _, _, axes = np.linalg.svd(filled)
    outwards = np.sqrt([1, 1, 2, 2])
    assert np.abs(found[:, 0]) == pytest.approx(np.abs(filled @ axes[0]) * outwards)
    # whatever stands in a cell that was not cast
    votes[2, 1] = 1
    assert positions(votes, cast) == pytest.approx(found)
    # and a mean that is not 0 is no pass: all agree with the first, so it tells nobody apart
    votes = np.array([[1, 1], [1, -1], [0, 1], [0, -1]], dtype=np.int8)
    cast = np.array([[1, 1], [1, 1], [0, 1], [0, 1]], dtype=bool)
    found = positions(votes, cast)
    assert found[2] == pytest.approx(found[0] * 2**0.5)


def test_clusters_and_silhouette_by_hand() -> None:
    places = np.array([[0.0, 0], [0, 2], [10, 0], [10, 2]])
    labels = clustered(places, 2, seed=0)
    assert labels[0] == labels[1] != labels[2] == labels[3]
    # to the own centre 1, to the other one sqrt(101)
    assert silhouette(places, labels) == pytest.approx((101**0.5 - 1) / 101**0.5)
    assert silhouette(places, np.zeros(4, int)) == -1


def camps(sizes: tuple[int, ...], seed: int = 0) -> Ballots:
    """Camps that differ on 12 statements of their own and agree on the first two; 30% not cast."""
    rng = np.random.default_rng(seed)
    n, camp = sum(sizes), np.repeat(range(len(sizes)), sizes)
    votes = np.ones((n, 2 + 12 * len(sizes)), dtype=np.int8)
    for which in range(len(sizes)):
        own = slice(2 + 12 * which, 14 + 12 * which)
        votes[:, own] = np.where(camp == which, 1, -1)[:, None]
    votes[rng.random(votes.shape) < 0.05] *= -1
    cast = rng.random(votes.shape) > 0.3
    statements = tuple(
        Statement(str(n), f"The AI should follow rule {n}.") for n in range(votes.shape[1])
    )
    return Ballots(statements, tuple(map(str, range(n))), votes * cast, cast, {})


@pytest.mark.parametrize("sizes", [(30, 20), (30, 22, 15)])
def test_camps_are_found_and_favour_what_all_do(sizes: tuple[int, ...]) -> None:
    ballots = camps(sizes)
    of = opinion_groups(ballots.votes, ballots.cast, seed=0)
    assert of.tolist() == np.repeat(range(len(sizes)), sizes).tolist()
    assert (opinion_groups(ballots.votes, ballots.cast, seed=0) == of).all()
    report, constitution = merge(ballots, MergeConfig(), "camps")
    assert {p.id for p in constitution.principles} == {"statement-0", "statement-1"}
    assert report.left_out == {"which a group is not for": 12 * len(sizes)}
    assert report.people == {str(g): size for g, size in enumerate(sizes)}


def test_few_people_or_one_opinion_are_one_group() -> None:
    few = camps((4, 4))
    assert set(opinion_groups(few.votes, few.cast, seed=0).tolist()) == {0}
    same, everywhere = np.ones((20, 8), dtype=np.int8), np.ones((20, 8), bool)
    assert set(opinion_groups(same, everywhere, seed=0).tolist()) == {0}
    everywhere[3, :2] = False
    assert opinion_groups(same, everywhere, seed=0)[3] == -1
    assert set(opinion_groups(few.votes, few.cast, seed=0, count=2).tolist()) == {0, 1}


# Principles


@pytest.mark.parametrize(
    ("statement", "question"),
    [
        ("The AI should be honest.", "is honest."),
        ("AI should not lie and cheat", "does not lie and cheat."),
        ("The AI should never carry weapons", "never carries weapons."),
        ("The AI must always be as harmless as possible.", "is always as harmless as possible."),
        ("An AI assistant should actively address injustice.", "actively addresses injustice."),
        ("The AI should have no opinions!", "has no opinions."),
        ("The AI should not be rude.", "is not rude."),
    ],
)
def test_statements_become_questions(statement: str, question: str) -> None:
    assert comparison_question(statement) == f"Choose the response that {question}"


@pytest.mark.parametrize(
    "statement",
    [
        "The AI should tell jokes and sing.",
        "AI should be honest. It should be kind.",
        "Nobody should use AI.",
        "=HYPERLINK(x)",
        "The AI should at least be kind.",
        "The AI should, above all, be kind.",
    ],
)
def test_other_statements_stay_as_they_are(statement: str) -> None:
    assert comparison_question(statement) is None


# All of it


def ballots_of(texts: list[str], votes: list[list[int | None]]) -> Ballots:
    return Ballots(
        tuple(Statement(f"s{n}", text) for n, text in enumerate(texts)),
        tuple(f"p{n}" for n in range(len(votes))),
        np.array([[v or 0 for v in row] for row in votes], dtype=np.int8),
        np.array([[v is not None for v in row] for row in votes], dtype=bool),
        {},
    )


def test_like_statements_are_merged_and_everybody_counts_once() -> None:
    texts = ["The AI should be honest.", "AI should be honest", "The AI should not be honest."]
    rows: list[list[int | None]] = [
        [1, 1, -1],
        [1, 1, -1],
        [1, 1, None],
        [None, 1, -1],
        [0, 1, None],
        [-1, -1, 1],
        [1, -1, None],  # for and against the same
    ]
    report, constitution = merge(
        ballots_of(texts, rows), MergeConfig(min_votes=1, groups=1), "honest"
    )
    kept = report.judged[0]
    assert (kept.id, kept.merged) == ("s0", ("s1",)) or (kept.id, kept.merged) == ("s1", ("s0",))
    assert (kept.all.votes, kept.all.agrees, kept.all.disagrees) == (7, 5, 1)
    assert report.contradicted == 1
    assert kept.consensus == pytest.approx(6 / 9)
    (principle,) = constitution.principles
    assert principle.weight == 0.666667
    assert principle.comparison_question == "Choose the response that is honest."
    assert "5 of 7 votes agree, 0.714 (0.359-0.918), 1 disagree" in principle.source
    assert "group 0: 5 of 7" in principle.source
    assert report.left_out == {"which a group is not for": 1}


def test_statements_that_people_tell_apart_stay_apart() -> None:
    texts = ["The AI should help people.", "AI should help the people"]
    apart: list[list[int | None]] = [[1, -1], [-1, 1], [1, 1]] * 4
    report, _ = merge(ballots_of(texts, apart), MergeConfig(min_votes=1, groups=1), "x")
    assert len(report.judged) == 2


def test_what_is_left_out_is_told() -> None:
    texts = [
        "The AI should be kind.",
        "The AI should be brief.",
        "Pick. Options: (A) [[[me",
        "Rare.",
    ]
    first: list[int | None] = [1, 0, 1, 1]
    rest: list[int | None] = [1, 1, 1, None]
    rows = [first, *[rest] * 11]
    found = ballots_of(texts, rows)
    report, constitution = merge(found, MergeConfig(groups=1, keep=1), "x")
    assert [p.id for p in constitution.principles] == ["statement-s0"]
    assert report.left_out == {
        "behind the first 1": 1,
        "which do not fit into the multiple-choice question": 1,
        "with less than 10 votes": 1,
    }
    with pytest.raises(InputError, match="no statement becomes a principle: 4 with less than 13"):
        merge(found, MergeConfig(min_votes=13), "x")
    # 13 / 14 and 12 / 14 of one group
    assert (
        len(merge(found, MergeConfig(groups=1, min_consensus=0.9), "x").constitution.principles)
        == 1
    )


def test_the_command(cai: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    folder = export(tmp_path / "polis", COMMENTS, MATRIX)
    out = tmp_path / "merged.yaml"
    words = ("constitution", "merge", folder, "--out", out, "--min-votes", "2")
    code, printed, told = cai(*words)
    assert code == 0, told
    assert "\x07" not in printed + told
    assert "1 moderated out" in " ".join(printed.split())
    found = load_constitution(out)
    assert [p.comparison for p in found.principles] == ["Choose the response that is honest."]
    assert json.loads(cai(*words, "--json")[1])["judged"][1]["text"] == "=HYPERLINK(\x07)"
    code, _, told = cai("constitution", "merge", tmp_path / "none.csv")
    assert code == 2
    assert "none.csv" in told


def test_control_characters_come_through_the_file(tmp_path: Path) -> None:
    from constitutional.constitution import save_constitution

    texts = ["=cmd|'/C calc'!A0 \x1b[31m is \u202e data"]
    _, constitution = merge(ballots_of(texts, [[1]] * 12), MergeConfig(groups=1), "x")
    save_constitution(constitution, tmp_path / "x.yaml")
    assert b"\x1b" not in (tmp_path / "x.yaml").read_bytes()
    assert load_constitution(tmp_path / "x.yaml").principles[0].text == texts[0]
