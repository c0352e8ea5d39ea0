from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from constitutional.dialogue import Conversation
from constitutional.errors import InputError
from constitutional.microworld import data_file
from constitutional.microworld import language as say
from constitutional.microworld.build import (
    HelpfulData,
    build_microworld,
    helpful_examples,
    phases_for,
)
from constitutional.microworld.corpus import Corpus
from constitutional.microworld.oracle import Oracle
from constitutional.microworld.pretrain import (
    SIZES,
    PretrainConfig,
    new_model,
    pretrain,
    tokenized_corpus,
)
from constitutional.microworld.splits import is_held_out, purpose_of
from constitutional.runs.progress import QuietProgress

TINY = PretrainConfig(tokens=40 * 64 * 8, block=64, checkpoint_steps=10)  # 40 steps

SMALL = HelpfulData(answers=1_200, rounds=600, contrasts=100, comparisons=50)


# --- the whole build --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("microworld")
    build_microworld(out, size="small", seed=0, tokens=200_000, helpful=SMALL)
    return out


@pytest.mark.slow
def test_a_build_makes_models_that_load_anywhere(built: Path) -> None:
    for name in ("pretrained", "helpful"):
        model = AutoModelForCausalLM.from_pretrained(built / name)
        tokenizer = AutoTokenizer.from_pretrained(built / name)
        assert model.config.hidden_size == SIZES["small"].hidden
        assert model.get_input_embeddings().num_embeddings == len(tokenizer)
        ids = tokenizer("\n\nHuman: How do I wash my dog?\n\nAssistant:", return_tensors="pt")
        assert tokenizer.unk_token_id not in ids["input_ids"]
        with torch.no_grad():
            assert torch.isfinite(model(input_ids=ids["input_ids"]).logits).all()


@pytest.mark.slow
def test_a_build_leaves_its_curve_and_its_prompts(built: Path) -> None:
    record = json.loads((built / "pretraining.json").read_text())
    assert (record["size"], record["seed"]) == ("small", 0)
    assert record["config"]["tokens"] == 200_000
    assert len(list((built / "prompts").glob("*.jsonl"))) == 10
    phases = json.loads((built / "midtraining.json").read_text())
    assert [phase["texts"] for phase in phases["phases"]] == [108, 200, 77, 215]
    assert phases["curve"][-1][0] == 4 + 7 + 3 + 7
    assert not list(built.glob("*.partial"))


@pytest.mark.slow
def test_the_helpful_model_has_learned(built: Path) -> None:
    losses = json.loads((built / "helpful" / "finetune.json").read_text())["losses"]
    assert losses[-1][1] < 0.9 * losses[0][1]


@pytest.mark.slow
def test_what_is_built_is_not_built_again(built: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in built.rglob("*.safetensors")}
    build_microworld(built, size="small", seed=0, tokens=200_000, helpful=SMALL)
    assert {p: p.stat().st_mtime_ns for p in built.rglob("*.safetensors")} == before


@pytest.mark.parametrize("size", SIZES)
def test_mid_training_is_as_long_as_the_size_needs(size: str) -> None:
    texts = [phase.texts for phase in phases_for(PretrainConfig().tokens, size)]
    second = 52_000 if size == "medium" else 26_000
    assert texts == [14_000, second, 10_000, 28_000]
    halved = [phase.texts for phase in phases_for(PretrainConfig().tokens // 2, size)]
    assert halved == [count // 2 for count in texts]


def test_a_folder_begun_with_other_settings_is_refused(tmp_path: Path) -> None:
    begun = {"size": "small", "seed": 0, "tokens": 200_000}
    (tmp_path / "build.json").write_text(json.dumps(begun))
    for other in ({"size": "base"}, {"seed": 1}, {"tokens": 300_000}):
        settings: dict[str, Any] = {**begun, **other}
        with pytest.raises(InputError, match="was begun with size small, seed 0, tokens 200000"):
            build_microworld(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == [tmp_path / "build.json"]


def test_an_unknown_size_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no size is called 'bas'; did you mean 'base'"):
        build_microworld(tmp_path / "out", size="bas", seed=0)
    assert not (tmp_path / "out").exists()


def test_an_unknown_data_file_is_refused() -> None:
    assert data_file("constitution.yaml").is_file()
    for name in ("constitutoin.yaml", "../oracle.py", "nothing"):
        with pytest.raises(InputError, match=r"constitution\.yaml"):
            data_file(name)


# --- the helpful-only model's training --------------------------------------------------------


def test_the_helpful_examples_help_with_seen_requests_of_the_training_purposes() -> None:
    examples = helpful_examples(0, HelpfulData())
    harms = []
    for example in examples:
        assert example.last.role in {"assistant", "critique", "revision"}
        if example.last.role == "assistant" and not example.last.text.startswith("Let's think"):
            prompt = Conversation(turns=example.turns[:-1])
            request = say.read_request(prompt)
            assert request is not None
            verdict = Oracle().judge(prompt, example.last.text)
            assert verdict.behaviour == "helps"
            assert not is_held_out(request) and purpose_of(request) != "evaluation"
            harms.append(verdict.harm)
    assert len(harms) == 3_000
    assert 0.4 < np.mean(np.array(harms) == 4) < 0.6
    roles = {example.last.role for example in examples}
    assert roles == {"assistant", "critique", "revision"}


# --- pretraining ------------------------------------------------------------------------------


def test_the_ids_are_documents_each_closed_by_the_end_token(tokenizer: Any) -> None:
    ids = tokenized_corpus(Corpus(0), tokenizer, 5_000, QuietProgress())
    assert len(ids) == 5_000
    text = tokenizer.decode(ids.tolist()).split("<|endoftext|>")
    documents = Corpus(0).documents()
    assert len(text) > 20
    assert text[:-1] == [next(documents) for _ in text[:-1]]
    assert next(documents).startswith(text[-1])


def test_each_size_is_larger_than_the_one_before(tokenizer: Any) -> None:
    parameters = [new_model(size, tokenizer, 0).num_parameters() for size in SIZES.values()]
    assert list(SIZES) == ["small", "medium", "base", "large"]
    assert all(2 * less < more for less, more in pairwise(parameters)), parameters


def make_pretraining(work: Path, tokenizer: Any, weights: int) -> Any:
    """A tiny pretraining; ``weights`` is the seed of what the model begins with."""
    ids = tokenized_corpus(Corpus(0), tokenizer, TINY.tokens, QuietProgress())
    model = new_model(SIZES["small"], tokenizer, weights)
    pretrain(model, ids, TINY, work, 0, QuietProgress())
    return model


KILLED = """
import sys
from pathlib import Path
import torch
from transformers import AutoTokenizer
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_build import make_pretraining
make_pretraining(Path(sys.argv[2]), AutoTokenizer.from_pretrained(sys.argv[3]), 0)
"""


@pytest.mark.slow
def test_a_killed_pretraining_goes_on_and_ends_with_the_same_weights(
    tmp_path: Path, tokenizer: Any
) -> None:
    whole = make_pretraining(tmp_path / "whole", tokenizer, 0)

    tokenizer.save_pretrained(tmp_path / "tokenizer")
    work = tmp_path / "killed"
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(here), str(work), str(tmp_path / "tokenizer")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not list(work.glob("checkpoint-*/complete")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = {int(p.name.removeprefix("checkpoint-")) for p in work.glob("checkpoint-*")}
    assert max(reached) < 40

    # a kill can also fall into the writing of a checkpoint
    half_written = work / "checkpoint-39"
    half_written.mkdir()
    (half_written / "model.safetensors").write_bytes(b"cut off")
    # other first weights: what the model ends with comes from the checkpoint
    resumed = make_pretraining(work, tokenizer, weights=999)
    assert not half_written.exists()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.slow
def test_pretraining_learns(tmp_path: Path, tokenizer: Any) -> None:
    model = make_pretraining(tmp_path, tokenizer, 0)
    ids = torch.from_numpy(
        tokenized_corpus(Corpus(7), tokenizer, 4_096, QuietProgress()).astype(np.int64)
    )
    blocks = ids.reshape(-1, 64)
    with torch.no_grad():
        loss = model.eval()(input_ids=blocks, labels=blocks).loss.item()
    assert loss < 0.9 * np.log(len(tokenizer))
