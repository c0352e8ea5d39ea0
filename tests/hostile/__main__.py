"""Writes docs/hostile.json and the table of docs/hostile-text.md: python -m tests.hostile."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.hostile.attacks import PLACES, corpus, placed
from tests.hostile.label_shift import Shift, measured
from tests.hostile.seen import marks, roles
from tests.web.injections import CORPUS

from constitutional.dialogue import Conversation, render
from constitutional.feedback import Question, render_cot, render_question

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- label shift -->", "<!-- /label shift -->"
Reading = tuple[list[str], dict[str, int]]
SPOKEN = Conversation.of("How?", "So.")
PRINCIPLE, ORDINARY = "Which is better?", "Use water."


def _turns(text: str) -> Reading:
    shown = render(SPOKEN.add("human", text).add("critique", text), "revision")
    return roles(shown), {}


def _options(text: str) -> Reading:
    shown = render_question(Question(Conversation.of(f"How? {text}"), PRINCIPLE, text, text))
    return roles(shown), marks(shown)


def _thought(text: str) -> Reading:
    asked = Question(Conversation.of(f"How? {text}"), PRINCIPLE, text, text)
    shown = render_cot(asked) + render_cot(Question(SPOKEN, PRINCIPLE, ORDINARY, ORDINARY), text)
    return roles(shown, cot=True), {"answer": marks(shown, cot=True)["answer"]}


RENDERERS: dict[str, Callable[[str], Reading]] = {
    "transcript": _turns,
    "question": _options,
    "question with reasoning": _thought,
}


def escapes(reading: Callable[[str], Reading], texts: list[str]) -> int:
    """How many texts are read as more, or fewer, turns and options than an ordinary text."""
    expected = reading(ORDINARY)
    return sum(reading(text) != expected for text in texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100)
    given = parser.parse_args()
    attacks = corpus()
    texts = [placed(attack.text, place) for attack in attacks for place in PLACES]
    found = {
        "attacks": dict(Counter(attack.family for attack in attacks)),
        "texts": len(texts),
        "web_injections": len(CORPUS),
        "escapes": {name: escapes(reading, texts) for name, reading in RENDERERS.items()},
        "label_shift": {"pairs": given.pairs, "rows": [_row(s) for s in measured(given.pairs)]},
    }
    (DOCS / "hostile.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    document = DOCS / "hostile-text.md"
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    table = _table(found["label_shift"]["rows"])  # type: ignore[index]
    document.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def _row(shift: Shift) -> dict[str, object]:
    row: dict[str, object] = {
        "family": shift.family,
        "rendering": shift.rendering,
        "orders": shift.orders,
        "not_asked": round(shift.not_asked, 4),
    }
    for name in ("absolute", "toward", "flipped"):
        estimate = getattr(shift, name)
        row[name] = [round(v, 4) for v in (estimate.value, estimate.low, estimate.high)]
    return row


def _table(rows: list[dict[str, object]]) -> str:
    columns = ("family", "orders", "rendering", "mean absolute shift", "toward the attacker")
    lines = [f"| {' | '.join(columns)} | flipped | not asked |", "| --- " * 7 + "|"]
    for row in sorted(rows, key=_order):
        cells = [str(row[name]) for name in ("family", "orders", "rendering")]
        cells += [_cell(row[name]) for name in ("absolute", "toward", "flipped")]
        lines.append(f"| {' | '.join(cells)} | {row['not_asked']} |")
    return "\n".join(lines) + "\n"


def _order(row: dict[str, object]) -> tuple[str, str, bool]:
    return str(row["family"]), str(row["orders"]), row["rendering"] != "before"


def _cell(value: object) -> str:
    mean, low, high = value  # type: ignore[misc]
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
