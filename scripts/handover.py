"""Holds what ``cai export`` and ``cai serve-pm`` make against the projects' own sources.

    pip install aiohttp hydra-core 'constitutional[serve]'
    .venv/bin/python scripts/handover.py RUN

RUN is the folder of a run whose preference model is trained. Neither OpenRLHF nor verl can be
installed beside us, so their wheels are fetched and read: OpenRLHF's own parser must take our
command, verl's own configuration our overrides, and OpenRLHF's own client must get the rewards that
our preference model gives.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import importlib.util
import json
import logging
import math
import os
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from constitutional.dialogue import Conversation, Turn
from constitutional.handover import openrlhf, verl
from constitutional.handover.export import export
from constitutional.handover.run import read_hand_over
from constitutional.preference.combined import Response
from constitutional.preference.model import PreferenceModel

ANSWERS = (" I will not help you.", " Please keep it dry.")


def main() -> None:
    run = Path(sys.argv[1])
    with TemporaryDirectory() as folder:
        here = Path(folder)
        for target, version in (("openrlhf", openrlhf.VERSION), ("verl", verl.VERSION)):
            fetch(target, version, here / f"{target}-source")
            export(target, run, here / target, arm=None, base=None, url="http://127.0.0.1:8010")
        print("OpenRLHF's parser:", check_parser(here))
        print("verl's configuration:", check_configuration(here))
        print("OpenRLHF's client:", check_client(run, here))


def fetch(project: str, version: str, to: Path) -> None:
    """The files of a wheel, of which nothing is installed."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(to)]
    subprocess.run([*command, f"{project}=={version}"], check=True)
    with zipfile.ZipFile(next(to.glob("*.whl"))) as wheel:
        wheel.extractall(to)


def arguments_of(script: Path) -> list[str]:
    """What a training script would call Python with, by a stand-in for Python."""
    stand_in = script.parent / "bin/python3"
    stand_in.parent.mkdir(exist_ok=True)
    stand_in.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    stand_in.chmod(0o755)
    found = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    done = subprocess.run([str(script)], env=found, capture_output=True, text=True, check=True)
    arguments: list[str] = json.loads(done.stdout)
    return arguments


def check_parser(here: Path) -> str:
    """OpenRLHF's parser, which stands in its main block, takes our options."""
    (source,) = here.glob("openrlhf-source/**/cli/train_ppo_ray.py")
    block = next(
        node
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
    )
    end = next(i for i, node in enumerate(block.body) if "parse_args()" in ast.unparse(node))
    space: dict[str, Any] = {"argparse": argparse, "datetime": datetime}
    exec(compile(ast.Module(block.body[:end], []), str(source), "exec"), space)
    _, _, *options = arguments_of(here / "openrlhf/train.sh")
    space["parser"].parse_args(options)
    return f"takes all {sum(option.startswith('--') for option in options)} options"


def check_configuration(here: Path) -> str:
    """verl's own configuration takes our overrides."""
    from hydra import compose, initialize_config_dir

    _, _, *overrides = arguments_of(here / "verl/train.sh")
    (source,) = here.glob("verl-source/**/trainer/config/ppo_trainer.yaml")
    with initialize_config_dir(str(source.parent.resolve()), version_base=None):
        config = compose(config_name="ppo_trainer", overrides=overrides)
    assert config.reward.custom_reward_function.reward_kwargs.url == "http://127.0.0.1:8010"
    return f"takes all {len(overrides)} overrides"


def check_client(run: Path, here: Path) -> str:
    """OpenRLHF's executor, with a policy that says what it is told, gets our rewards."""
    sys.modules["openrlhf.utils.logging_utils"] = SimpleNamespace(  # type: ignore[assignment]
        init_logger=logging.getLogger
    )
    (source,) = here.glob("openrlhf-source/**/utils/agent.py")
    spec = importlib.util.spec_from_file_location("openrlhf_agent", source)
    assert spec is not None and spec.loader is not None
    agent = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(agent)
    hand = read_hand_over(run, arm=None, base=None)
    model = PreferenceModel.load(hand.preference_model, device="cpu")
    rows = [json.loads(line) for line in (here / "openrlhf/prompts.jsonl").read_text().splitlines()]
    cases = [(row, answer) for row in rows[:16] for answer in ANSWERS]
    with serving(hand.preference_model) as url:
        executor = agent.SingleTurnAgentExecutor(f"{url}/get_reward")
        found = asyncio.run(_all(executor, cases, hand.tokenizer, model.card.end_token))
    scores = model.scores([Response(_asked(row["label"]), text.strip()) for row, text in cases])
    gaps = [
        abs(answer["reward"][0] - (score - model.mean))
        for answer, score in zip(found, scores, strict=True)
    ]
    assert max(gaps) < 1e-4 and not any(map(math.isnan, gaps))
    return f"{len(gaps)} rewards, furthest from ours by {max(gaps):.1e}"


async def _all(executor: Any, cases: Any, tokenizer: Any, end: str) -> list[dict[str, Any]]:
    return await asyncio.gather(
        *(
            executor.execute(
                row["prompt"],
                row["label"],
                SimpleNamespace(max_tokens=64, logprobs=None),
                4096,
                tokenizer,
                _Says(tokenizer(text=answer + end, add_special_tokens=False)["input_ids"]),
            )
            for row, answer in cases
        )
    )


class _Says:
    """In vLLM's place: a policy that gives one answer."""

    def __init__(self, ids: list[int]):
        self.output = SimpleNamespace(token_ids=ids, text="", finish_reason="stop", logprobs=None)

    async def generate(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(outputs=[self.output])


class serving:
    """``cai serve-pm`` in a process of its own."""

    def __init__(self, folder: Path):
        code = "from constitutional.cli import main; main()"
        command = [sys.executable, "-c", code, "serve-pm", str(folder), "--port", "0"]
        self.server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> str:
        assert self.server.stderr is not None
        return self.server.stderr.readline().partition(" is served at ")[2].partition(": /")[0]

    def __exit__(self, *_: object) -> None:
        self.server.terminate()
        self.server.wait(timeout=60)


def _asked(label: str) -> Conversation:
    roles: dict[str, Any] = {"user": "human", "assistant": "assistant"}
    return Conversation(
        turns=tuple(Turn(role=roles[m["role"]], text=m["content"]) for m in json.loads(label))
    )


if __name__ == "__main__":
    main()
