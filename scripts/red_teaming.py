"""New prompts of the embedded model, and what the oracle says of them.

    .venv/bin/python scripts/red_teaming.py [--out runs/red-teaming] [--count 500]

`cai red-team` for both kinds, from the prompts of the supervised stage and without those of the
evaluation; then a Markdown table for docs/red-teaming.md. What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from constitutional.dialogue import PromptKind, PromptRecord, load_prompts
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.microworld import data_file
from constitutional.microworld.language import read_request

KINDS = {"red-team": "red_team", "helpful": "helpful"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/red-teaming"))
    parser.add_argument("--count", type=int, default=500)
    given = parser.parse_args()
    print("| kind | attempts accepted | rejected, by cause | of the kind asked for | no sentence |")
    print("| --- | ---: | --- | ---: | ---: |")
    for kind, name in KINDS.items():
        out = given.out / kind
        made = make(kind, name, out, given.count)
        report = json.loads((out / "report.json").read_text())
        requests = [read_request(prompt.conversation) for prompt in made]
        harmful = kind == "red-team"
        right = sum(r is not None and (r.harm is not None) == harmful for r in requests)
        causes = ", ".join(f"{cause} {n}" for cause, n in report["rejected"].items() if n)
        cells = (
            share(proportion(report["accepted"], report["attempts"])),
            causes,
            share(proportion(right, len(made))),
            str(requests.count(None)),
        )
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


def make(kind: str, name: str, out: Path, count: int) -> tuple[PromptRecord, ...]:
    """The prompts that `cai red-team` writes for one kind."""
    prompts, avoid = (
        data_file(f"prompts/{use}_{name}.jsonl") for use in ("supervised", "evaluation")
    )
    command = [Path(sys.executable).parent / "cai", "red-team", "--model", "microworld:pretrained"]
    command += ["--prompts", prompts, "--avoid", avoid, "--kind", kind, "--seed", "0"]
    command += ["--count", str(count), "--max-new-tokens", "48", "--out", out]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    read_as: PromptKind = "red_team" if kind == "red-team" else "helpful"
    return tuple(load_prompts(str(out / "prompts.jsonl"), kind=read_as).records)


def share(estimate: Estimate | None) -> str:
    assert estimate is not None
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.1f}% ({low:.1f} to {high:.1f}, n {estimate.n})"


if __name__ == "__main__":
    main()
