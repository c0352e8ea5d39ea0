"""What vLLM is told and what is read from it, without vLLM: plain values in, plain values out."""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from constitutional.engines.base import SamplingParams
from constitutional.engines.decoding import Ending
from constitutional.engines.loading import end_ids, load_tokenizer
from constitutional.engines.vllm.checks import RANKS, check_installed, rank_to_reserve
from constitutional.engines.vllm.protocol import (
    MOST_TOKENS,
    choice_arguments,
    completion_of,
    llm_arguments,
    next_token_logprobs,
    sampling_arguments,
)
from constitutional.engines.vllm.settings import VllmSettings
from constitutional.engines.walk import walk_tokens
from constitutional.errors import EngineError, MissingExtraError, ModelError

EOS = 0


@dataclass
class Logprob:
    """As `vllm.logprobs.Logprob`."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class Output:
    """As `vllm.outputs.CompletionOutput`."""

    token_ids: list[int]
    text: str = ""
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: str | None = "stop"
    stop_reason: int | str | None = None


def settings(**changes: Any) -> VllmSettings:
    return VllmSettings.model_validate({"engine": "vllm", "model": "m", **changes})


def adapter(folder: Path, **changes: Any) -> Path:
    """An adapter's settings as peft 0.20 writes them, in part, and an empty weights file."""
    folder.mkdir(exist_ok=True)
    config = {"peft_type": "LORA", "r": 12, "bias": "none", "use_dora": False}
    (folder / "adapter_config.json").write_text(
        json.dumps({**config, "modules_to_save": None, **changes})
    )
    (folder / "adapter_model.safetensors").touch()
    return folder


def test_the_cache_is_shared_and_the_weights_are_read_safely(tmp_path: Path) -> None:
    plain = llm_arguments(settings())
    assert plain["enable_prefix_caching"] is True
    assert (plain["trust_remote_code"], plain["load_format"]) == (False, "safetensors")
    assert (plain["generation_config"], plain["logprobs_mode"]) == ("vllm", "raw_logprobs")
    assert plain["dtype"] == "bfloat16"
    assert "max_model_len" not in plain and "enable_lora" not in plain
    asked = settings(
        dtype="float32",
        max_model_len=512,
        tensor_parallel_size=2,
        lora=str(adapter(tmp_path / "a")),
    )
    found = llm_arguments(asked)
    assert (found["dtype"], found["max_model_len"], found["tensor_parallel_size"]) == (
        "float32",
        512,
        2,
    )
    assert (found["enable_lora"], found["max_loras"], found["max_lora_rank"]) == (True, 1, 16)


def test_a_text_is_sampled_from_the_whole_distribution_by_its_seed() -> None:
    params = SamplingParams(48, 0.7, ("\n\nHuman:",))
    assert sampling_arguments(params, 7, [0, 5]) == {
        "max_tokens": 48,
        "temperature": 0.7,
        "seed": 7,
        "stop": ["\n\nHuman:"],
        "stop_token_ids": [0, 5],
        "logprobs": None,
    }
    asked = SamplingParams(8, 1.0, logprobs=True)
    assert sampling_arguments(asked, 7, [0])["logprobs"] == 0  # the drawn token's own


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (SamplingParams(8, 0.001), "from 0.01 to 2.0"),
        (SamplingParams(8, 2.5), "from 0.01 to 2.0"),
        (SamplingParams(8, 0.7, logprobs=True), "and not at 0.7"),
    ],
)
def test_what_vllm_would_do_otherwise_is_refused(params: SamplingParams, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        sampling_arguments(params, 1, [0])


def test_choices_take_one_token_and_no_log_probabilities_of_the_prompt() -> None:
    asked = choice_arguments([3, 4])
    assert asked == {
        "max_tokens": 1,
        "temperature": 0.0,
        "logprob_token_ids": [3, 4],
        "detokenize": False,
    }
    with pytest.raises(EngineError, match="at most 128 tokens"):
        choice_arguments(range(MOST_TOKENS + 1))


def test_the_tokens_decide_the_text_and_its_end(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer.encode(" the answer")
    plain, stopped = Ending(tokenizer, [EOS], ()), Ending(tokenizer, [EOS], ("answer",))
    ended = completion_of(Output([*ids, EOS]), plain, logprobs=False)
    assert (ended.text, ended.ended, ended.tokens) == (" the answer", "eos", len(ids) + 1)
    cut = completion_of(Output(ids, finish_reason="length"), plain, logprobs=False)
    assert (cut.text, cut.ended, cut.token_ids) == (" the answer", "length", tuple(ids))
    at_stop = completion_of(Output(ids, " the ", stop_reason="answer"), stopped, logprobs=False)
    assert (at_stop.text, at_stop.ended) == (" the ", "stop")
    # found by vLLM alone, in what it decoded step by step
    by_vllm = completion_of(Output(ids, " th", stop_reason="e a"), plain, logprobs=False)
    assert (by_vllm.text, by_vllm.ended, by_vllm.tokens) == (" th", "stop", len(ids))


def test_log_probabilities_are_those_of_the_drawn_tokens(tokenizer: Any) -> None:
    drawn = [{5: Logprob(-0.5, 1), 9: Logprob(-0.1, 2)}, {EOS: Logprob(-2.0, 1)}]
    ending = Ending(tokenizer, [EOS], ())
    found = completion_of(Output([5, EOS], logprobs=drawn), ending, logprobs=True)
    assert found.logprobs == (-0.5, -2.0)
    with pytest.raises(EngineError, match="left it out"):
        completion_of(Output([5, EOS], logprobs=None), ending, logprobs=True)


@pytest.mark.parametrize("reason", ["abort", "error", None])
def test_a_request_that_did_not_finish_is_no_text(tokenizer: Any, reason: str | None) -> None:
    ending = Ending(tokenizer, [EOS], ())
    with pytest.raises(EngineError, match="did not finish"):
        completion_of(Output([5], finish_reason=reason), ending, logprobs=False)
    with pytest.raises(EngineError, match="did not finish"):
        next_token_logprobs(Output([5], finish_reason=reason), [5])


def test_a_choice_of_several_tokens_is_asked_for_token_by_token() -> None:
    """The drawn token, which comes along, is no part of the sum."""
    language = {
        (1,): {7: Logprob(-0.1), 2: Logprob(-1.0), 4: Logprob(-8.0)},
        (1, 2): {7: Logprob(-0.1), 3: Logprob(-2.0)},
    }

    def ask(asked: Any) -> list[list[float]]:
        return [next_token_logprobs(Output([7], logprobs=[language[b]]), t) for b, t in asked]

    assert walk_tokens([(1,)], [[(2, 3), (4,)]], ask) == [(-3.0, -8.0)]
    with pytest.raises(EngineError, match="token 5 and left it out"):
        walk_tokens([(1,)], [[(5,)]], ask)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"r": 1000}, "rank 1 to 512, found 1000"),
        ({"peft_type": "IA3"}, "peft_type LORA"),
    ],
)
def test_an_adapter_that_vllm_refuses_is_refused_before_it_starts(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        rank_to_reserve(adapter(tmp_path / "a", **changes))


def test_a_folder_without_an_adapter_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no LoRA adapter"):
        rank_to_reserve(tmp_path)
    (adapter(tmp_path / "a") / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="no adapter_model"):
        rank_to_reserve(tmp_path / "a")


def test_an_adapter_that_peft_saves_is_read(tmp_path: Path, model: Any) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=20, target_modules=["q_proj"], task_type="CAUSAL_LM")
    # a copy: adapters are put on in place, and other tests have the model too
    peft.get_peft_model(copy.deepcopy(model), config).save_pretrained(tmp_path / "a")
    assert rank_to_reserve(tmp_path / "a") == 32


def test_a_text_ends_where_that_of_the_local_engine_does(folder: Path, engine: Any) -> None:
    assert end_ids(folder, load_tokenizer(folder)) == engine._eos_ids == [0]
    (folder / "generation_config.json").unlink()
    assert end_ids(folder, load_tokenizer(folder)) == [0]
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 0]}')
    assert end_ids(folder, load_tokenizer(folder)) == [0, 5]


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_one_sentence_names_the_command() -> None:
    with pytest.raises(
        MissingExtraError, match=r"needs vllm.*pip install 'constitutional\[vllm\]'"
    ):
        check_installed()


def source(path: str) -> ast.Module:
    """A file of vLLM, read and not imported: that would need its GPU libraries."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vllm is not installed: its sources cannot be compared with")
    return ast.parse((Path(spec.submodule_search_locations[0]) / path).read_text())


def fields(tree: ast.Module, name: str) -> set[str]:
    """The annotated fields of a class."""
    (found,) = (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name)
    return {n.target.id for n in found.body if isinstance(n, ast.AnnAssign)}  # type: ignore[union-attr]


def arguments(tree: ast.Module, cls: str, method: str) -> set[str]:
    (found,) = (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == cls)
    (called,) = (n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == method)
    return {a.arg for a in (*called.args.args, *called.args.kwonlyargs)}


def test_the_names_are_those_of_vllms_sources(tmp_path: Path) -> None:
    asked = settings(lora=str(adapter(tmp_path / "a")), max_model_len=5)
    llm = source("entrypoints/llm.py")
    engine_fields = fields(source("engine/arg_utils.py"), "EngineArgs")
    assert set(llm_arguments(asked)) <= arguments(llm, "LLM", "__init__") | engine_fields
    params = fields(source("sampling_params.py"), "SamplingParams")
    assert set(sampling_arguments(SamplingParams(1), 1, [0])) <= params
    assert set(choice_arguments([1])) <= params
    used = {"prompts", "sampling_params", "use_tqdm", "lora_request"}
    assert used <= arguments(llm, "LLM", "generate")
    read = {"text", "token_ids", "logprobs", "finish_reason", "stop_reason"}
    assert read <= fields(source("outputs.py"), "CompletionOutput")
    assert "logprob" in fields(source("logprobs.py"), "Logprob")
    lora = fields(source("lora/request.py"), "LoRARequest")
    assert {"lora_name", "lora_int_id", "lora_path"} <= lora
    ranks = "MaxLoRARanks = Literal[" + ", ".join(map(str, RANKS)) + "]"
    assert ranks in ast.unparse(source("config/lora.py"))
    assert f"MAX_LOGPROB_TOKEN_IDS = {MOST_TOKENS}" in ast.unparse(source("sampling_params.py"))
