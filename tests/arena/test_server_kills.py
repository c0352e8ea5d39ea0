"""A small copy of ``benchmarks/votes``: raters at once over HTTP, and a server that is killed."""

from __future__ import annotations

from benchmarks.votes.load import vote_at_once


def test_a_killed_server_loses_no_acknowledged_vote_and_doubles_none(place: str) -> None:
    outcome = vote_at_once(place, raters=12, votes_each=8, kills=1, doubled=0.5)
    assert outcome.wrong == outcome.lost == []
    assert outcome.stored == len(outcome.told.acknowledged) == 96
    # else nothing was tried
    assert outcome.told.broken > 0 and outcome.told.twice > 20
