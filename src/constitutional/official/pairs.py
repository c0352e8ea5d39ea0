"""A preference model on judged pairs of hh-rlhf, against what needs no model.

The split is by conversation: all pairs whose conversation begins with the same human turn are on
one side, and that turn is what intervals resample. All scorers are measured on the same test pairs,
those that the preference model can read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from constitutional.dialogue.conversation import Conversation
from constitutional.engines.base import Style
from constitutional.evaluation.choice_counts import share_by_conversation
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.official.settings import Line, Order
from constitutional.preference.bag_of_words import BagOfWords, fit_bag_of_words
from constitutional.preference.data import read_hh_rlhf
from constitutional.runs import Progress, RunFolder, fingerprint_of, one_by_one
from constitutional.runs.records import Comparison
from constitutional.runs.seeds import derive_seed

#: One conversation in so many is for the test.
TEST_ONE_IN = 3


class PairScore(BaseModel):
    """The raw scores of a pair's answers; None for one that is longer than the model reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    better: float | None
    worse: float | None


class Split(NamedTuple):
    """The pairs of both sides, and how many rows were left out before, by reason."""

    train: list[Comparison]
    test: list[Comparison]
    left_out: Counter[str]


def cluster(conversation: Conversation) -> str:
    """The first human turn, but for blanks: what makes two pairs of one conversation."""
    first = next(turn for turn in conversation.turns if turn.role == "human")
    return " ".join(first.text.split())


def read_split(path: str | Path, *, seed: int, limit: int | None = None) -> Split:
    """The pairs of a file, split by a hash of seed and :func:`cluster`.

    So what other rows there are moves no pair. Raises InputError for a row that is no pair.
    """
    found = read_hh_rlhf(path, goal="harmlessness", seed=seed)
    split = Split([], [], found.left_out)
    for comparison in list(found.comparisons)[:limit]:
        side = derive_seed(seed, "official split", cluster(comparison.prompt)) % TEST_ONE_IN
        (split.train if side else split.test).append(comparison)
    return split


def better_and_worse(pair: Comparison) -> tuple[str, str]:
    """The answers, the one that people preferred first."""
    return (pair.a, pair.b) if pair.prob_a == 1 else (pair.b, pair.a)


def train_and_score(
    split: Split,
    model: str,
    order: Order,
    run: RunFolder,
    progress: Progress,
    *,
    style: Style,
    fingerprint: str,
) -> list[PairScore]:
    """Train on one side, score the other; both are kept in the run.

    ``fingerprint`` is that of ``model``. The test side's texts, never its labels, also give the
    mean that the trained folder stores, which no comparison here reads.
    """
    from constitutional.preference.judged import scores_that_fit
    from constitutional.preference.model import PreferenceModel
    from constitutional.preference.train import train_preference_model

    def train(work: Path) -> None:
        train_preference_model(
            model,
            split.train,
            held_out=split.test,
            style=style,
            config=order.preference,
            work=work,
            seed=order.seed,
            progress=progress,
        )

    folder = run.stage_artifact(
        "preference_model",
        inputs={
            "model": fingerprint,
            "settings": fingerprint_of([order.preference, style, order.seed]),
            "train": fingerprint_of(split.train),
            "test": fingerprint_of(split.test),
        },
        make=train,
    )
    loaded: list[PreferenceModel] = []

    def score(part: Sequence[Comparison]) -> list[PairScore]:
        if not loaded:  # where all is there already, nothing is loaded
            loaded.append(PreferenceModel.load(folder, style=style))
            loaded[0].batch_size = order.batch_size
        texts = [(pair.prompt, text) for pair in part for text in better_and_worse(pair)]
        found = scores_that_fit(loaded[0], texts)
        return [
            PairScore(id=pair.id, better=better, worse=worse)
            for pair, better, worse in zip(part, found[::2], found[1::2], strict=True)
        ]

    records = run.stage_records(
        "preference_scores",
        inputs={"model": run.fingerprint("preference_model")},
        record_type=PairScore,
        items=split.test,
        block_size=order.batch_size,
        make=one_by_one(score),
        progress=progress,
        title="Test pairs",
    )
    return list(records)


def pair_lines(
    split: Split, scores: Sequence[PairScore], *, seed: int
) -> tuple[list[Line], dict[str, int | float]]:
    """Accuracy of each scorer on the test pairs, and the model's less each baseline's, paired.

    Raises ValueError where no training pair is left for the bag of words.
    """
    kept = [
        (pair, each.better - each.worse)
        for pair, each in zip(split.test, scores, strict=True)
        if each.better is not None and each.worse is not None
    ]
    bag = fit_bag_of_words(
        [better_and_worse(pair) for pair in split.train],
        [cluster(pair.prompt) for pair in split.train],
        seed=seed,
    )
    clusters = [cluster(pair.prompt) for pair, _ in kept]
    model = [_won(margin) for _, margin in kept]
    lines = [_line("preference model", "accuracy", share_by_conversation(model, clusters))]
    for name, scorer in baselines(bag).items():
        hits = [_won(scorer(x) - scorer(y)) for x, y in (better_and_worse(p) for p, _ in kept)]
        lines.append(_line(name, "accuracy", share_by_conversation(hits, clusters)))
        gaps = [ours - theirs for ours, theirs in zip(model, hits, strict=True)]
        lines.append(
            _line(f"preference model - {name}", "difference", mean_difference(gaps, clusters))
        )
    counts: dict[str, int | float] = {
        "train pairs": len(split.train),
        "train conversations": len({cluster(pair.prompt) for pair in split.train}),
        "test pairs": len(split.test),
        "test conversations": len({cluster(pair.prompt) for pair in split.test}),
        "test pairs too long": len(split.test) - len(kept),
        "ties": sum(margin == 0 for _, margin in kept),
        "words in the bag": len(bag.weights),
        "l2 of the bag": bag.l2,
    }
    return lines, counts | {f"rows left out: {why}": n for why, n in split.left_out.items()}


def baselines(bag: BagOfWords) -> Mapping[str, Callable[[str], float]]:
    """What scores an answer without a model."""
    return {
        "longer wins": lambda text: float(len(text)),
        "shorter wins": lambda text: -float(len(text)),
        "bag of words": bag.score,
    }


def mean_difference(gaps: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    """The mean over pairs with an interval over conversations; None without a pair.

    Where two scorers agree on every pair a bootstrap has no width, and Wilson's bound for none of
    so many conversations stands on both sides.
    """
    if any(gaps):
        return share_by_conversation(gaps, clusters)
    none_of = proportion(0, len(set(clusters)))
    return none_of and none_of.model_copy(update={"low": -none_of.high})


def _won(margin: float) -> float:
    return 0.5 if margin == 0 else float(margin > 0)


def _line(of: str, measure: str, estimate: Estimate | None) -> Line:
    note = "" if estimate is not None else "no test pair could be scored"
    return Line(
        part="pairs",
        of=of,
        measure=measure,
        estimate=estimate,
        counted="conversations",
        note=note,
    )
