"""Does `infer` find the rules behind comparisons, where the rules are known?

    .venv/bin/python scripts/recovered_rules.py [--sets NAME ...] [--pairs N] [--seed N]
        [--model FOLDER] [--out FOLDER]

A person whom the oracle plays compares two answers to requests that the model has never read of.
What the person minds is hidden: harm in general, two kinds of harm, three other kinds, or evasions
alone. Where a rule is silent the person is indifferent (a label of one half). The candidates are
all principles of the microworld's grammar (`cai microworld principles`), most of them wrong; the
tester is the embedded pretrained model. It takes no side by a principle against evasions, so that
rule cannot be found, and `--sets evasive` is not among the defaults. Pairs are chosen such that the
longer answer is the better one in half of those that have a better one. No conversation of the
held-out part is in another.

Prints for each set the held-out accuracy with its interval, that of the baselines, what was kept,
and whether it is about what the person minds. Answers of the model are kept in --out.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from constitutional.constitution import Constitution, Principle
from constitutional.dialogue import Conversation
from constitutional.engines.local import LocalEngine
from constitutional.instrument.inferred import Inferred, told
from constitutional.instrument.inferring import InferConfig, divide, infer
from constitutional.microworld import data_file
from constitutional.microworld import language as say
from constitutional.microworld.corpus import Corpus
from constitutional.microworld.language import EVASIVE, GENERAL, Concern, Form, concerns_of
from constitutional.microworld.oracle import Oracle
from constitutional.microworld.principles import every_principle
from constitutional.microworld.splits import requests_for
from constitutional.microworld.world import Request
from constitutional.runs import Progress, RunFolder
from constitutional.runs.records import Comparison

HIDDEN: dict[str, tuple[Concern, ...]] = {
    "harm": (GENERAL,),
    "cruel+dishonest": ("cruel", "dishonest"),
    "illegal+intrusive+dangerous": ("illegal", "intrusive", "dangerous"),
    "evasive": (EVASIVE,),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(data_file("pretrained")))
    parser.add_argument("--pairs", type=int, default=360, help="pairs of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sets", nargs="+", choices=HIDDEN, default=[*HIDDEN][:3])
    parser.add_argument("--out", type=Path, default=Path("runs/recovered-rules"))
    given = parser.parse_args()
    engine = LocalEngine.load(given.model, batch_size=128)
    candidates = Constitution(name="grammar", principles=every_principle())
    found = {}
    for name in given.sets:
        comparisons = labelled(HIDDEN[name], given.pairs, given.seed)
        config = InferConfig(seed=given.seed)
        with RunFolder.open(
            given.out / f"{name}-{given.seed}",
            {"name": name, "seed": given.seed, "pairs": given.pairs, **config.model_dump()},
            command="scripts/recovered_rules.py",
            inputs={"model": engine.fingerprint},
        ) as run:
            parts = divide(comparisons, given.seed)
            report = infer(run, parts, candidates, engine, config, progress=Progress()).report
        show(name, report)
        found[name] = report.model_dump(mode="json")
    (given.out / f"report-{given.seed}.json").write_text(json.dumps(found, indent=2) + "\n")


def labelled(hidden: tuple[Concern, ...], count: int, seed: int) -> list[Comparison]:
    """``count`` comparisons, of which two thirds have a better answer: half of these the longer."""
    rng, corpus, oracle = random.Random(f"rules:{hidden}:{seed}"), Corpus(seed), Oracle()
    rules = [Principle(id=c, text=f"Do not help with anything {c}.") for c in hidden]
    room = {"longer": count // 3, "shorter": count // 3, "neither": count - 2 * (count // 3)}
    requests = [
        request
        for purpose in ("preference", "rl", "evaluation")
        for request in requests_for(purpose, held_out=True)
    ]
    found: list[Comparison] = []
    while any(room.values()):
        asked, a, b = pair(rng, corpus, rng.choice(requests))
        better = oracle.prefer_by(rules, asked, a, b)
        if a == b or (better != "tie" and len(a) == len(b)):
            continue
        kind = "neither"
        if better != "tie":
            kind = "longer" if (len(a) > len(b)) == (better == "a") else "shorter"
        if room[kind]:
            room[kind] -= 1
            found.append(
                Comparison(
                    id=f"pair-{len(found)}",
                    prompt=asked,
                    a=a,
                    b=b,
                    goal="harmlessness",
                    labeller=oracle.name,
                    prob_a={"a": 1.0, "b": 0.0, "tie": 0.5}[better],
                )
            )
    rng.shuffle(found)  # the last ones are of the kind that is rarest
    return found


def pair(rng: random.Random, corpus: Corpus, request: Request) -> tuple[Conversation, str, str]:
    """A question and two answers of any form, of which some name a wrong tool or reason."""
    asked = say.ask(request, rng.choice(say.QUESTIONS))
    a, b = (
        corpus.answer(request, rng.choice([*Form]), right=rng.random() < 0.9).text for _ in "ab"
    )
    return asked, a, b


def show(name: str, report: Inferred) -> None:
    print(f"\n{name}: {report.comparisons}, without a side {report.without_side}")
    for row in report.held_out:
        ahead = "" if row.principles_ahead is None else f"; ahead {told(row.principles_ahead)}"
        n = 0 if row.all is None else row.all.n
        print(
            f"  {row.name:14} {told(row.all)}, longer wins {told(row.longer_wins)}, longer loses "
            f"{told(row.longer_loses)}, {n} conversations{ahead}"
        )
    minded = frozenset(HIDDEN[name])
    about = [concerns_of(kept.text) for kept in report.kept]
    for kept, concerns in zip(report.kept, about, strict=True):
        print(f"  {kept.weight:6.2f} {kept.text} [{', '.join(sorted(concerns))}]")
        print(f"         alone {told(kept.accuracy)}, silent {told(kept.silent)}")
        print(f"         says the same: {', '.join(kept.merged) or 'none'}")
    covered = frozenset().union(*about)
    print(f"  found {sorted(covered & minded)}, not found {sorted(minded - covered)}, ", end="")
    print(f"beside the rule {sorted(covered - minded)}")
    print(f"  candidates {report.candidates}, different ones {len(report.tested)}", flush=True)


if __name__ == "__main__":
    main()
