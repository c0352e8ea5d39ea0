"""Files that are cut short or have a bit flipped while nobody runs: found, told, and mended."""

from __future__ import annotations

import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

from tests.faults.tally import Tally
from tests.faults.world import TRAININGS, Process, World, check, outcome, safe_blocks

#: Files of a finished run, by what they are to it.
FILES = {
    "records": ("stages/*/records.jsonl",),
    "sidecars": ("stages/*/blocks.jsonl",),
    "state": ("stages/*/stage.json", "run.json", "recipe.yaml"),
    "results": ("stages/*/result/**/*",),
    "metrics": ("metrics.json", "constitution.yaml", "notes.json"),
}


def of_finished_runs(world: World, kind: str, tries: int, seed: int) -> Tally:
    """Files of a finished run are damaged, one at a time; the command makes the run whole again.

    Without the report, which is written anew by each command.
    """
    chance, tally = random.Random(f"{kind} {seed}"), Tally()
    out = world.new(f"damaged-{kind}")
    shutil.copytree(world.reference, out)
    files = sorted(p for glob in FILES[kind] for p in out.glob(glob) if p.is_file())
    for _ in range(tries):
        path = chance.choice([file for file in files if file.stat().st_size])
        how = damage(path, chance)
        safe = safe_blocks(out)
        ended = world.finish(out, without_report)
        tally.tried(path.relative_to(out).parts[-2] if kind == "results" else path.parent.name)
        tally.went_on(ended, safe)
        _check_told(ended.told, path.relative_to(out), how)
        tally.compare(world, out)
    shutil.rmtree(out)
    return tally


def of_checkpoints(world: World, tries: int, seed: int) -> Tally:
    """A file of the newest checkpoint, or a snapshot, is damaged in the middle of a training."""
    chance, tally = random.Random(seed), Tally()
    for number in range(tries):
        stage = list(TRAININGS)[number % len(TRAININGS)]
        begun, out = world.folder / f"begun-{stage}", world.new("checkpoint")
        if not begun.exists():
            _train_until(world, begun, stage)
        shutil.copytree(begun, out)
        path = chance.choice(_newest_files(out, stage))
        how = damage(path, chance)
        safe = safe_blocks(out)
        ended = world.run(out, tricks=(partial(end_after, stage),))
        check(ended.code == 0 and not ended.signal, f"{path}, {how}:\n{ended.told}")
        tally.tried(stage)
        tally.went_on(ended, safe)
        said = "cannot be used" in ended.told and "the training " in ended.told
        check(said, f"{path}, {how}, and nothing was told:\n{ended.told}")
        found = outcome_of(out, stage)
        expected = {n: v for n, v in world.expected.items() if n.startswith(f"stages/{stage}/")}
        check(found == expected, f"{path}, {how}: the result is another one")
    return tally


def damage(path: Path, chance: random.Random) -> str:
    """Cut the file short, or flip one of its bits; says which."""
    data = bytearray(path.read_bytes())
    place = chance.randrange(len(data))
    if chance.random() < 0.5:
        path.write_bytes(data[:place])
        return f"cut at byte {place}"
    data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return f"a bit of byte {place} flipped"


def without_report(process: Process) -> None:
    """The process writes no report."""
    from constitutional.report import summary

    summary.write_report = lambda *_, **__: None


def end_after(stage: str, process: Process) -> None:
    """The process ends well when the stage after this one begins."""
    import os

    from constitutional.runs import RunFolder

    begin, seen = RunFolder._begin, [False]

    def beginning(self: RunFolder, name: str, *args: object) -> object:
        if seen[0]:
            os._exit(0)
        seen[0] = name == stage
        return begin(self, name, *args)  # type: ignore[arg-type]

    RunFolder._begin = beginning  # type: ignore[method-assign, assignment]


def outcome_of(out: Path, stage: str) -> dict[str, bytes]:
    """The result of one stage."""
    for name in ("metrics.json", "constitution.yaml", "notes.json"):
        (out / name).touch()
    for name in ("metrics.json",):
        (out / name).write_text("{}")
    return {n: v for n, v in outcome(out).items() if n.startswith(f"stages/{stage}/")}


def _train_until(world: World, out: Path, stage: str) -> None:
    """A run that was killed in this training when it had two whole checkpoints."""
    process = world.start(out)
    pattern = TRAININGS[stage].format("*")
    while True:
        whole = [p for p in (out / "stages" / stage).glob(f"{pattern}/complete") if _step(p) > 0]
        if len(whole) >= 2:
            break
        check(not process.over(), f"{stage} ended before it had two checkpoints")
        time.sleep(0.002)
    process.kill(signal.SIGKILL)
    process.wait()


def _newest_files(out: Path, stage: str) -> list[Path]:
    work = out / "stages" / stage / "work"
    whole = list((out / "stages" / stage).glob(f"{TRAININGS[stage].format('*')}/complete"))
    newest = max(whole, key=_step).parent
    snapshots = [p for p in work.glob("**/snapshots/step-*/*") if p.is_file()]
    made = [p for p in snapshots if int(p.parent.name.removeprefix("step-")) <= _step(newest / "x")]
    return [p for p in (*sorted(newest.iterdir()), *sorted(made)) if p.stat().st_size]


def _step(mark: Path) -> int:
    return int(mark.parent.name.rpartition("-")[2])


def _check_told(told: str, path: Path, how: str) -> None:
    """One sentence says what was damaged: a stage, or the file."""
    sentences = [
        line
        for line in told.splitlines()
        if "made again" in line or "restored from its copy" in line or "written anew" in line
    ]
    named = path.parts[1] if path.parts[0] == "stages" else path.name
    check(len(sentences) == 1 and named in sentences[0], f"{path}, {how}: told\n{told}")
