"""Adapters after their training: beside the merged model, as a model of an engine, gone on with."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from constitutional.adapters import base_fingerprint, kept_adapters
from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines import SamplingParams, TextPrompt, load_engine
from constitutional.engines.loading import load_tokenizer
from constitutional.errors import InputError, MissingExtraError, ModelError
from constitutional.planning.shape import shape_of
from constitutional.preference.model import PreferenceModel
from constitutional.preference.settings import PreferenceConfig, PretrainingConfig
from constitutional.preference.train import pretrain_preference_model, train_preference_model
from constitutional.rl.one_base import OneBase, OneBaseNetworks, same_base
from constitutional.rl.ppo import PPO
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import PPOConfig
from constitutional.runs.progress import QuietProgress
from constitutional.runs.records import Comparison
from constitutional.supervised.finetune import finetune
from constitutional.supervised.settings import FinetuneConfig
from constitutional.training_settings import LoraSettings
from small_models import save_random_model

pytest.importorskip("peft")

QUESTIONS = ["Why is it so?", "How does one count?", "What is this?", "Who sang?"]
LORA: dict[str, Any] = {"rank": 4, "alpha": 16}
SHARED: dict[str, Any] = {"style": "chat", "seed": 0, "device": "cpu", "progress": QuietProgress()}
TRAINING: dict[str, Any] = {"learning_rate": 3e-2, "batch_size": 2, "epochs": 3}


def supervised(base: Path, work: Path, **lora: Any) -> Path:
    torch.set_num_threads(1)
    finetune(
        base,
        [Conversation.of(text, f"It is {n}.") for n, text in enumerate(QUESTIONS)],
        config=FinetuneConfig(lora=LoraSettings(**LORA | lora), **TRAINING),
        work=work,
        **SHARED,
    )
    return work / "result"


def comparisons() -> list[Comparison]:
    return [
        Comparison(
            id=str(n),
            prompt=Conversation.of(text),
            a="It is well.",
            b="No, no, no.",
            goal="harmlessness",
            labeller="rule",
            prob_a=0.9,
        )
        for n, text in enumerate(QUESTIONS)
    ]


def preference_model(model: Path, work: Path, **changes: Any) -> Path:
    settings = TRAINING | {"lora": LoraSettings(**LORA)} | changes
    train_preference_model(
        model,
        comparisons(),
        held_out=comparisons(),
        config=PreferenceConfig(**settings),
        work=work,
        **SHARED,
    )
    return work / "result"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # bitsandbytes packs weights anew on CPUs that know bfloat16, and takes widths of whole blocks
    # alone there, as real models have them
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32}
    return save_random_model(tmp_path_factory.mktemp("base") / "base", "qwen3", QUESTIONS, **sizes)


@pytest.fixture(scope="module")
def sl_cai(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return supervised(base, tmp_path_factory.mktemp("sl_cai"))


def far_apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[name].float() - b[name].float()).abs().max().item() for name in a)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return found


# Beside the merged model


def test_kept_adapters_on_their_base_are_the_merged_model(base: Path, sl_cai: Path) -> None:
    from peft import PeftModel

    network = AutoModelForCausalLM.from_pretrained(base)
    whole = PeftModel.from_pretrained(network, sl_cai / "adapter").merge_and_unload()
    assert (
        far_apart(whole.state_dict(), AutoModelForCausalLM.from_pretrained(sl_cai).state_dict())
        == 0
    )
    assert far_apart(weights(sl_cai), weights(base)) > 0.01
    kept = kept_adapters(sl_cai)
    assert kept is not None
    assert (kept.base, kept.fingerprint) == (str(base), base_fingerprint(base))
    assert kept.settings == LoraSettings(**LORA)
    assert kept_adapters(base) is None


def test_the_fingerprint_of_a_base_is_that_of_weights_and_configuration(
    base: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    (copy / "tokenizer_config.json").unlink()
    assert base_fingerprint(copy) == base_fingerprint(base)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert base_fingerprint(copy) != base_fingerprint(base)


# As a model of an engine


def test_a_folder_of_adapters_is_a_model_on_its_base(base: Path, sl_cai: Path) -> None:
    params, prompts = SamplingParams(8, 1.0), [TextPrompt(text) for text in QUESTIONS]
    engines = [load_engine(folder) for folder in (sl_cai / "adapter", sl_cai, base)]
    adapted, merged, plain = (engine.sample(prompts, params, range(4)) for engine in engines)
    assert adapted == merged != plain
    again = load_engine(sl_cai / "adapter")
    assert engines[0].fingerprint == again.fingerprint != engines[2].fingerprint
    assert engines[0].style == "chat"
    assert shape_of(str(sl_cai / "adapter")) == shape_of(str(base)).model_copy(
        update={"name": "adapter"}
    )


def test_a_fingerprint_of_its_files_is_over_adapters_and_base(
    base: Path, sl_cai: Path, tmp_path: Path
) -> None:
    from constitutional.inputs.models import files_hash

    other, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(base, other)
    shutil.copytree(sl_cai / "adapter", adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    found = [files_hash(str(adapter))]
    (adapter / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": str(other)})
    )
    found.append(files_hash(str(adapter)))
    (other / "generation_config.json").write_text("{}")
    found.append(files_hash(str(adapter)))
    assert len(set(found)) == 3


def test_a_missing_base_is_one_sentence(sl_cai: Path, tmp_path: Path) -> None:
    shutil.copytree(sl_cai / "adapter", tmp_path / "adapter")
    file = tmp_path / "adapter/adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "base_model_name_or_path": "/no/where"}))
    with pytest.raises(ModelError, match="of the model /no/where, which is not there: put"):
        load_engine(tmp_path / "adapter")
    file.write_text("{}")
    with pytest.raises(ModelError, match="does not say which model its adapters belong on"):
        load_engine(tmp_path / "adapter")


def test_adapters_of_another_shape_or_kind_are_refused(base: Path, tmp_path: Path) -> None:
    folder = preference_model(base, tmp_path / "pm") / "adapter"
    with pytest.raises(ModelError, match="adapters of a preference model, which writes no text"):
        load_engine(folder)


def test_layers_are_spread_over_gpus_where_there_are_some(base: Path) -> None:
    if torch.cuda.is_available():
        assert load_engine(base, device="spread").sample(
            [TextPrompt("Why")], SamplingParams(2), [0]
        )
    else:
        with pytest.raises(ModelError, match="torch finds no GPU"):
            load_engine(base, device="spread")


# Gone on with


def test_a_preference_model_goes_on_with_the_adapters_of_its_pretraining(
    base: Path, tmp_path: Path
) -> None:
    """No step of its own: the same adapters on the same base, not new ones on the merged model."""
    pretrain_preference_model(
        base,
        comparisons(),
        config=PretrainingConfig(lora=LoraSettings(**LORA), **TRAINING),
        work=tmp_path / "pmp",
        **SHARED,
    )
    first = tmp_path / "pmp/result"
    still = preference_model(first, tmp_path / "still", learning_rate=1e-30)
    moved = preference_model(first, tmp_path / "moved")
    begun, same, further = (
        load_file(folder / "adapter/adapter_model.safetensors") for folder in (first, still, moved)
    )
    assert far_apart(begun, same) == 0 < far_apart(begun, further)
    for folder in (still, moved):
        kept = kept_adapters(folder)
        assert kept is not None
        assert (kept.base, kept.fingerprint) == (str(base), base_fingerprint(base))
    whole, after = (PreferenceModel.load(f, device="cpu").network for f in (first, still))
    assert far_apart(whole.state_dict(), after.state_dict()) < 1e-6
    with pytest.raises(InputError, match="give both trainings the same 'lora'"):
        preference_model(first, tmp_path / "other", lora=LoraSettings(rank=2))


# In 4 bits


def test_all_trainings_on_a_base_in_4_bits(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    start = supervised(base, tmp_path / "sl_cai", quantize="4bit")
    scorer = preference_model(base, tmp_path / "pm", lora=LoraSettings(**LORA, quantize="4bit"))
    # merged into the base's own weights: what was not adapted is the base's to the last bit
    for name, tensor in weights(start).items():
        before = weights(base)[name]
        assert tensor.dtype == before.dtype
        difference = (tensor - before).float()
        if "proj" in name:
            assert 0 < torch.linalg.matrix_rank(difference, rtol=1e-3) <= 4, name
        else:
            assert not difference.any(), name
    found = same_base(start, scorer, base, LoraSettings(**LORA, quantize="4bit"))
    assert isinstance(found, OneBase)
    networks = OneBaseNetworks(found, 0.0, 0, device="cpu")
    layer = networks.policy.model.layers[0].self_attn.q_proj.base_layer
    assert layer.weight.dtype == torch.uint8
    assert layer.weight.numel() * 2 == 128 * 64
    scores = PreferenceModel.around(networks.scorer, scorer, head="score")

    def score(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        return [scores.score(*answer) for answer in answers]

    ppo = PPO(
        networks,
        load_tokenizer(start),
        score=score,
        offset=0.0,
        held_out_score=None,
        prompts=Prompts(
            [
                PromptRecord(id=t, conversation=Conversation.of(t), kind="red_team", source="test")
                for t in QUESTIONS
            ],
            (),
        ),
        config=PPOConfig(
            steps=1,
            batch_size=4,
            minibatch_size=2,
            learning_rate=1e-2,
            max_new_tokens=4,
            red_team_share=1.0,
            lora=found.lora,
        ),
        seed=0,
        work=tmp_path / "ppo",
    )
    (step,) = ppo.train(QuietProgress()).history
    assert step.kl_k1 == pytest.approx(0, abs=1e-5)
    ppo.save_policy(tmp_path / "policy")
    assert far_apart(weights(tmp_path / "policy"), weights(start)) > 0
    assert load_engine(tmp_path / "policy").sample([TextPrompt("Why")], SamplingParams(2), [0])


def test_an_engine_in_4_bits_says_nearly_the_same(base: Path, sl_cai: Path) -> None:
    pytest.importorskip("bitsandbytes")
    prompts = [TextPrompt(text) for text in QUESTIONS]
    for folder in (base, sl_cai / "adapter"):
        whole, small = (load_engine(folder, quantize=q) for q in (None, "4bit"))
        ours, theirs = (e.choice_logprobs(prompts, ["so", "it"]) for e in (small, whole))
        assert small.fingerprint != whole.fingerprint
        for one, other in zip(ours, theirs, strict=True):
            assert one == pytest.approx(other, abs=0.3)
            assert one != other


def test_without_bitsandbytes_one_sentence_says_what_to_install(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    sentence = (
        "a model in 4bits needs bitsandbytes, which is not installed: "
        "pip install 'constitutional[quant]'"
    )
    with pytest.raises(MissingExtraError) as caught:
        load_engine(base, quantize="4bit")
    assert str(caught.value) == sentence.replace("4bits", "4 bits")
    with pytest.raises(MissingExtraError):
        supervised(base, tmp_path, quantize="4bit")
