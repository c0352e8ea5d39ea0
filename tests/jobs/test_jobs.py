"""Jobs as records, the configurations that ship, and what is refused before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_jobs import finetuning, small_jobs

from constitutional import processes
from constitutional.errors import InputError
from constitutional.jobs import Finetuning, read_job, write_job
from constitutional.jobs.configurations import SHIPPED, find_launcher, shipped
from constitutional.jobs.running import run_job
from constitutional.recipe import load_recipe
from constitutional.runs import Progress, fingerprint_of
from constitutional.spool import Spooled
from constitutional.supervised.settings import FinetuneConfig
from constitutional.training import Shuffled

NOWHERE = Path("nowhere")


def test_a_job_comes_back_as_it_was(tmp_path: Path) -> None:
    for job in small_jobs(NOWHERE, NOWHERE, tmp_path).values():
        write_job(job, tmp_path / "job.json")
        assert read_job(tmp_path / "job.json") == job


def test_what_lies_on_the_disk_stays_there_until_it_is_sent(tmp_path: Path) -> None:
    job = finetuning(NOWHERE, tmp_path)
    spooled = Spooled(job.conversations)
    lazy = Finetuning(**{**dict(job), "conversations": spooled})
    assert lazy.conversations is spooled
    write_job(lazy, tmp_path / "job.json")
    assert read_job(tmp_path / "job.json") == job


def test_what_is_no_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"kind": "finetuning", "model": 3}')
    with pytest.raises(InputError, match=r"job.json: this is no training job: finetuning\.model"):
        read_job(tmp_path / "job.json")
    with pytest.raises(InputError, match="there is no job to read"):
        read_job(tmp_path / "none.json")


def test_what_ships_is_what_accelerate_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as the launcher gives it to the processes, by their environment."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    found = {}
    for name in SHIPPED:
        words = ["--config_file", str(shipped(name)), "--num_processes", "2", "script.py"]
        arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
        if arguments.use_deepspeed:
            arguments.deepspeed_fields_from_accelerate_config = ""
            found[name] = prepare_deepspeed_cmd_env(arguments)[1]
        else:
            found[name] = prepare_multi_gpu_env(arguments)
    assert "ACCELERATE_USE_FSDP" not in found["ddp"]
    assert found["zero3"]["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert found["zero3"]["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
    assert found["zero3"]["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] == "true"
    for key, value in found["fsdp2"].items():
        if key.startswith(("FSDP", "ACCELERATE")):
            monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert "FULL_STATE_DICT" in str(plugin.state_dict_type)
    assert not plugin.cpu_ram_efficient_loading
    assert processes.sharding() == "FSDP"


def test_ppo_keeps_whole_weights() -> None:
    launcher = find_launcher(2, "fsdp2")
    assert (launcher.config, launcher.whole) == (shipped("fsdp2"), shipped("ddp"))


WRONG: dict[str, tuple[str, str]] = {
    "no such file": ("", "is no file and none of ddp, fsdp2, zero3; did you mean 'fsdp2'"),
    "no YAML": ("a: [", "Accelerate cannot read this"),
    "another key": ("distributed_type: FSDP\nfsdp_confg: {}\n", "Accelerate cannot read this"),
    "a TPU": ("distributed_type: XLA\n", "must be one of MULTI_GPU, FSDP, DEEPSPEED, found XLA"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_is_one_sentence(case: str, tmp_path: Path) -> None:
    text, sentence = WRONG[case]
    path = tmp_path / "fsdp2"
    if text:
        path.write_text(text)
    with pytest.raises(InputError, match=sentence) as refused:
        find_launcher(2, str(path))
    assert "\n" not in str(refused.value)


def test_deepspeed_that_is_not_there_is_said() -> None:
    try:
        import deepspeed  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="not installed: pip install deepspeed"):
            find_launcher(2, "zero3")
    else:
        pytest.skip("deepspeed is installed")


def test_a_size_that_cannot_be_shared_out_is_refused(
    monkeypatch: pytest.MonkeyPatch, small_recipe: Callable[..., Path]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match=r"'batch_size' .* 32 cannot be shared out to 3 of them"):
        processes.divided(32, "batch_size")
    path = small_recipe(training={"processes": 3})
    with pytest.raises(InputError, match=r"'batch_size' .* make it a multiple of 3") as refused:
        load_recipe(path)
    lines = path.read_text().splitlines()
    assert refused.value.line is not None
    assert "batch_size" in lines[refused.value.line - 1]


def test_the_order_is_that_of_any_number_of_processes() -> None:
    one, two = (list(Shuffled(11, seed=lambda: 5, filled=filled)) for filled in (1, 4))
    assert two == [*one, -1]
    assert sorted(one) == list(range(11))


def test_shares_are_parts_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts = []
    for number in range(3):
        monkeypatch.setenv("RANK", str(number))
        assert processes.is_main() == (number == 0)
        parts += processes.share(range(6))
    assert parts == list(range(6))


def test_settings_from_before_have_the_fingerprint_that_they_had() -> None:
    plain = FinetuneConfig().model_dump()
    assert "gradient_checkpointing" not in plain
    spared = FinetuneConfig(gradient_checkpointing=True)
    assert spared.model_dump() == {**plain, "gradient_checkpointing": True}
    assert fingerprint_of([spared]) != fingerprint_of([FinetuneConfig()])
    assert FinetuneConfig.model_validate(spared.model_dump()) == spared


def test_what_the_limit_leaves_out_is_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = finetuning(model, tmp_path, max_length=20)
    run_job(job, Progress())
    report: dict[str, Any] = yaml.safe_load((tmp_path / "result/finetune.json").read_text())
    assert 0 < report["too_long"] < 22
    assert report["too_long_tokens"] > 20 * report["too_long"]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == (
        f"Note: Finetuning: {report['too_long']} of 22 examples, which have "
        f"{report['too_long_tokens']} tokens, are longer than max_length 20 and left out."
    )


def test_one_process_is_alone() -> None:
    assert "WORLD_SIZE" not in os.environ
    assert (processes.count(), processes.sharding()) == (1, None)
    assert processes.gathered([1, 2]) == [1, 2]
