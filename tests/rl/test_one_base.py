"""PPO on one base: equal to the same networks loaded apart, and smaller in memory and on disk."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from constitutional.adapters import base_fingerprint, kept_adapters
from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines.loading import load_parts, load_tokenizer
from constitutional.packing import Batching
from constitutional.preference.combined import Response
from constitutional.preference.model import PreferenceModel
from constitutional.preference.settings import PreferenceConfig
from constitutional.preference.train import train_preference_model
from constitutional.rl.networks import Critic, Networks
from constitutional.rl.one_base import OneBase, OneBaseNetworks, same_base
from constitutional.rl.ppo import PPO
from constitutional.rl.rollout import Prompts, collate, response_logits, sample_answers
from constitutional.rl.settings import PPOConfig
from constitutional.runs.progress import QuietProgress
from constitutional.runs.records import Comparison
from constitutional.supervised.finetune import finetune
from constitutional.supervised.settings import FinetuneConfig
from constitutional.training_settings import LoraSettings
from small_models import save_random_model

pytest.importorskip("peft")

LORA = LoraSettings(rank=4, alpha=16)
CONFIG = PPOConfig(
    steps=3,
    batch_size=4,
    minibatch_size=2,
    epochs=2,
    learning_rate=1e-2,
    critic_learning_rate=1e-2,
    max_new_tokens=5,
    red_team_share=1.0,
    checkpoint_steps=2,
    lora=LORA,
)
QUESTIONS = ["Why is it so?", "How does one count the birds?", "What is this?", "Who sang?"]
SHARED: dict[str, Any] = {"style": "chat", "seed": 0, "device": "cpu", "progress": QuietProgress()}


@dataclass(frozen=True)
class Trained:
    """A base, and what two trainings with adapters made of it."""

    base: Path
    sl_cai: Path
    scorer: Path


def conversations() -> list[Conversation]:
    return [Conversation.of(text, f"It is {n}.") for n, text in enumerate(QUESTIONS)]


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


def train_both(base: Path, folder: Path, lora: LoraSettings | None = LORA) -> Trained:
    """A few steps with a large learning rate, so that both are far from their base."""
    settings: dict[str, Any] = {"lora": lora, "learning_rate": 3e-2, "batch_size": 2, "epochs": 3}
    torch.set_num_threads(1)
    sl_cai, scorer = folder / "sl_cai", folder / "scorer"
    finetune(base, conversations(), config=FinetuneConfig(**settings), work=sl_cai, **SHARED)
    train_preference_model(
        base,
        comparisons(),
        held_out=comparisons(),
        config=PreferenceConfig(**settings),
        work=scorer,
        **SHARED,
    )
    return Trained(base, sl_cai / "result", scorer / "result")


@pytest.fixture(scope="module", params=["llama", "llama, tied", "qwen3"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Llama has no token to pad with, so that its preference model has a row more than its base."""
    folder = tmp_path_factory.mktemp("one_base")
    name, _, tied = request.param.partition(", ")
    base = save_random_model(folder / "base", name, QUESTIONS)
    model, _ = load_parts(base, device="cpu", dtype="float32")
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    with torch.no_grad():  # drawn at random, the output layer is too small to say anything
        model.lm_head.weight.mul_(5)
    model.save_pretrained(base)
    return train_both(base, folder)


def found(trained: Trained) -> OneBase:
    shared = same_base(trained.sl_cai, trained.scorer, trained.base, LORA)
    assert isinstance(shared, OneBase), shared
    return shared


def prompts() -> list[PromptRecord]:
    return [
        PromptRecord(id=f"p{i}", conversation=Conversation.of(t), kind="red_team", source="test")
        for i, t in enumerate(QUESTIONS)
    ]


def on_one_base(trained: Trained) -> tuple[OneBaseNetworks, PreferenceModel]:
    apart = PreferenceModel.load(trained.scorer, device="cpu")
    networks = OneBaseNetworks(found(trained), apart.mean, 0, device="cpu")
    return networks, PreferenceModel.around(networks.scorer, trained.scorer, head="score")


class Apart:
    """The same four networks, each with a base of its own, by nothing but transformers and peft."""

    apart = True

    def __init__(self, trained: Trained):
        self.policy, self._reference = (self._causal(trained) for _ in range(2))
        network = self._scorer(trained)
        self.scorer = PreferenceModel.around(self._scorer(trained), trained.scorer, head="score")
        head = copy.deepcopy(network.score.modules_to_save["default"])
        self.critic = Critic(network.base_model, head, self.scorer.mean)

    def _causal(self, trained: Trained) -> Any:
        base = AutoModelForCausalLM.from_pretrained(trained.base)
        return self._with(base, trained.sl_cai / "adapter")

    def _scorer(self, trained: Trained) -> Any:
        begun = PreferenceModel.begin(trained.base, style="chat", seed=0, device="cpu").network
        return self._with(begun, trained.scorer / "adapter")

    def _with(self, network: Any, adapters: Path) -> Any:
        from peft import PeftModel

        with_them = PeftModel.from_pretrained(network, adapters, is_trainable=True)
        return with_them.base_model.model.eval()

    @property
    def models(self) -> tuple[Any, ...]:
        return self.policy, self._reference, self.critic.trunk

    def reference_logits(self, batch: Any) -> torch.Tensor:
        return response_logits(self._reference, batch)

    def scoring(self) -> Any:
        return nullcontext()

    def save_policy(self, folder: Path) -> None:
        raise AssertionError("not asked for here")


def ppo(
    networks: Networks, scorer: PreferenceModel, trained: Trained, work: Path, **more: Any
) -> PPO:
    def score(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        return scorer.scores([Response(*answer) for answer in answers])

    options: dict[str, Any] = {"score": score, "config": CONFIG, **more}
    return PPO(
        networks,
        load_tokenizer(trained.sl_cai),
        offset=scorer.mean,
        held_out_score=None,
        prompts=Prompts(prompts(), ()),
        seed=0,
        work=work,
        **options,
    )


def some_batch(training: PPO, trained: Trained) -> Any:
    tokenizer = load_tokenizer(trained.sl_cai)
    completions = sample_answers(training._engine, prompts(), 0, 6, 0)
    padded = Batching(packs=False)
    return collate(tokenizer, training._engine, prompts(), completions, padded)


def responses() -> list[Response]:
    return [Response(c.prompt, text) for c in comparisons() for text in (c.a, c.b + " " + c.a)]


def test_each_network_is_the_one_that_was_trained(trained: Trained, tmp_path: Path) -> None:
    """Against the merged models in their folders, each loaded by itself, in any order of turns."""
    networks, scorer = on_one_base(trained)
    first = scorer.scores(responses())
    batch = some_batch(ppo(networks, scorer, trained, tmp_path), trained)
    sl_cai = AutoModelForCausalLM.from_pretrained(trained.sl_cai).eval()
    merged = AutoModelForSequenceClassification.from_pretrained(trained.scorer).eval()
    apart = PreferenceModel.load(trained.scorer, device="cpu")
    critic = Critic(merged.base_model, merged.score, apart.mean).eval()
    base = AutoModelForCausalLM.from_pretrained(trained.base).eval()
    with torch.no_grad():
        expected, values = response_logits(sl_cai, batch), critic(batch)
        assert (response_logits(base, batch) - expected).abs().max() > 0.1, (
            "the adapters do something"
        )
        assert (Critic(base.base_model, merged.score, 0.0)(batch) - values).abs().max() > 0.01
        assert first == pytest.approx(apart.scores(responses()), abs=1e-5)
        for _ in range(2):
            assert torch.allclose(response_logits(networks.policy, batch), expected, atol=5e-5)
            assert torch.allclose(networks.critic(batch), values, atol=1e-5)
            assert torch.allclose(networks.reference_logits(batch), expected, atol=5e-5)
            assert scorer.scores(responses()) == pytest.approx(apart.scores(responses()), abs=1e-5)


def test_a_training_is_that_of_networks_with_bases_of_their_own(
    trained: Trained, tmp_path: Path
) -> None:
    networks, scorer = on_one_base(trained)
    apart = Apart(trained)
    shared = ppo(networks, scorer, trained, tmp_path / "shared")
    plain = ppo(apart, apart.scorer, trained, tmp_path / "apart")
    assert all(reader._batching.packs for reader in (shared, plain, scorer, apart.scorer))
    ours, theirs = (training.train(QuietProgress()).history for training in (shared, plain))
    for one, other in zip(ours, theirs, strict=True):
        assert replace(one, seconds={}) == replace(other, seconds={}), "to the last bit"
    assert ours[-1].kl_k3 > 1e-3, "the policy has moved"
    batch = some_batch(plain, trained)
    with torch.no_grad():
        assert torch.allclose(
            response_logits(networks.policy, batch), response_logits(apart.policy, batch), atol=1e-5
        )
        assert torch.allclose(networks.critic(batch), apart.critic(batch), atol=1e-5)
        assert torch.allclose(
            networks.reference_logits(batch), apart.reference_logits(batch), atol=1e-5
        )
    assert scorer.scores(responses()) == pytest.approx(apart.scorer.scores(responses()), abs=1e-5)


def test_a_checkpoint_is_what_is_trained_and_a_killed_training_ends_with_the_same_bytes(
    trained: Trained, tmp_path: Path
) -> None:
    whole = ppo(*on_one_base(trained), trained, tmp_path / "whole")
    report = whole.train(QuietProgress())
    networks, scorer = on_one_base(trained)
    calls = 0

    def dies(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return scorer.scores([Response(*answer) for answer in answers])

    with pytest.raises(KeyboardInterrupt):
        ppo(networks, scorer, trained, tmp_path / "cut", score=dies).train(QuietProgress())
    again = ppo(*on_one_base(trained), trained, tmp_path / "cut")
    resumed = again.train(QuietProgress())
    for ours, theirs in zip(resumed.history, report.history, strict=True):
        assert replace(ours, seconds={}) == replace(theirs, seconds={})
    for name in ("policy", "critic", "policy_optimizer", "critic_optimizer"):
        file = f"step-3/{name}.safetensors"
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    names = set(load_file(tmp_path / "cut/step-3/policy.safetensors"))
    assert names and all("/lora_" in name and "/policy/" in name for name in names)
    names = set(load_file(tmp_path / "cut/step-3/critic.safetensors"))
    assert {name for name in names if "/critic/" not in name} == {"head.weight"}
    for training, folder in ((whole, "a"), (again, "b")):
        training.save_policy(tmp_path / folder)
    for file in sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file()):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_the_saved_policy_is_a_plain_folder_with_its_adapters_beside(
    trained: Trained, tmp_path: Path
) -> None:
    networks, scorer = on_one_base(trained)
    training = ppo(networks, scorer, trained, tmp_path / "work")
    training.train(QuietProgress())
    batch = some_batch(training, trained)
    training.save_policy(tmp_path / "policy")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "policy").eval()
    with torch.no_grad():
        expected = response_logits(networks.policy, batch)
        assert torch.allclose(response_logits(plain, batch), expected, atol=1e-5)
        assert (expected - networks.reference_logits(batch)).abs().max() > 1e-3
    kept = kept_adapters(tmp_path / "policy")
    assert kept is not None
    assert kept.fingerprint == base_fingerprint(trained.base)


def test_a_policy_that_begins_as_the_base_has_it_for_its_reference(
    trained: Trained, tmp_path: Path
) -> None:
    shared = same_base(trained.base, trained.scorer, trained.base, LORA)
    assert isinstance(shared, OneBase)
    networks = OneBaseNetworks(shared, 0.0, 0, device="cpu")
    scorer = PreferenceModel.around(networks.scorer, trained.scorer, head="score")
    training = ppo(networks, scorer, trained, tmp_path)
    base = AutoModelForCausalLM.from_pretrained(trained.base).eval()
    batch = some_batch(training, trained)
    with torch.no_grad():
        expected = response_logits(base, batch)
        assert torch.allclose(response_logits(networks.policy, batch), expected, atol=5e-5)
    training.train(QuietProgress())
    with torch.no_grad():
        assert torch.allclose(networks.reference_logits(batch), expected, atol=5e-5)
        assert not torch.allclose(response_logits(networks.policy, batch), expected, atol=1e-3)


def test_why_a_base_is_not_shared_is_said(tmp_path: Path) -> None:
    base = save_random_model(tmp_path / "base", "qwen3", QUESTIONS)
    on_it = train_both(base, tmp_path / "on it")
    whole = train_both(base, tmp_path / "whole", lora=None)
    other = tmp_path / "other"
    model, tokenizer = load_parts(base, device="cpu", dtype="float32")
    with torch.no_grad():
        model.model.norm.weight.add_(0.1)
    model.save_pretrained(other)
    tokenizer.save_pretrained(other)

    def reason(start: Path, scorer: Path, base: Path, lora: LoraSettings | None = LORA) -> str:
        why = same_base(start, scorer, base, lora)
        assert isinstance(why, str)
        return why

    assert reason(on_it.sl_cai, on_it.scorer, base, None) == "rl.ppo.lora is not given"
    assert "preference model was trained without" in reason(on_it.sl_cai, whole.scorer, base)
    assert "begin with was trained without" in reason(whole.sl_cai, on_it.scorer, base)
    assert "belong on another base" in reason(on_it.sl_cai, on_it.scorer, other)
    assert "other settings" in reason(on_it.sl_cai, on_it.scorer, base, LoraSettings(rank=2))
