"""One base in memory for all networks of PPO: policy, reference, critic and preference models.

Where SL-CAI and the preference model were trained with adapters from the same pretrained model,
each is that base with its adapters. PPO's policy is then a trainable copy of SL-CAI's adapters and
the reference the frozen ones; the critic is a trainable copy of the preference model's adapters
with a head of its own, and the preference model the frozen ones with theirs. They take turns:
whoever computes switches its adapters on first, and a backward pass follows its forward pass at
once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from constitutional.adapters import (
    Kept,
    base_fingerprint,
    keep_adapters,
    kept_adapters,
    merged_into,
    quantize_of,
    with_adapters,
)
from constitutional.engines.loading import load_parts, without_bars
from constitutional.rl.networks import Critic
from constitutional.rl.rollout import Batch, response_logits
from constitutional.runs.seeds import derive_seed
from constitutional.training_settings import LoraSettings

#: What peft puts before a layer's name.
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class OneBase:
    """A base with the adapters that belong on it; ``policy`` None where the policy begins as it."""

    base: str
    fingerprint: str
    lora: LoraSettings
    policy: Kept | None
    preference_model: Kept


def same_base(
    start: str | Path, preference_model: str | Path, base: str | Path, lora: LoraSettings | None
) -> OneBase | str:
    """What can be shared, or the reason why PPO's networks cannot share one base.

    ``start`` is where the policy begins: ``base`` itself, or the result of a training with adapters
    on it, as ``preference_model`` must be. Their adapters and those of PPO have the same settings,
    since PPO goes on with them.
    """
    if lora is None:
        return "rl.ppo.lora is not given"
    policy, scorer = kept_adapters(start), kept_adapters(preference_model)
    if scorer is None:
        return "the preference model was trained without adapters"
    mark = base_fingerprint(base)
    if policy is None and base_fingerprint(start) != mark:
        return "the policy to begin with was trained without adapters"
    for name, kept in (("policy to begin with", policy), ("preference model", scorer)):
        if kept is not None and kept.fingerprint != mark:
            return f"the adapters of the {name} belong on another base"
        if kept is not None and kept.settings != lora:
            return f"the adapters of the {name} have other settings than rl.ppo.lora"
    if not _one_trunk(base, scorer):
        return "a causal LM of this family has another trunk than its classifier"
    return OneBase(str(base), mark, lora, policy, scorer)


class Through(torch.nn.Module):
    """``network``, which stands on a shared base, as one set of adapters makes it.

    Its parameters are those adapters' alone (none where they are frozen), so that optimiser,
    clipping and checkpoints see no other. All else is asked of ``network``.
    """

    def __init__(self, shared: Shared, adapters: str | None, network: Any):
        super().__init__()
        self._of = (shared, network)  # in a tuple, so that it is no submodule
        for name, weight in shared.trained(adapters).items():
            self.register_parameter(name.replace(".", "/"), weight)

        @wraps(network.forward)  # an engine reads there which arguments it may give
        def forward(*args: Any, **more: Any) -> Any:
            shared.switch_on(adapters)
            return network(*args, **more)

        self.forward = forward

    def __getattr__(self, name: str) -> Any:
        """What modules of torch have, and beyond it what the network has."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "_of":
                raise
            return getattr(self._of[1], name)


class Shared:
    """A frozen causal LM on which several sets of adapters stand, of which one is on at a time."""

    def __init__(self, network: Any):
        self.network = network.requires_grad_(False).eval()
        self._tuner: Any = None
        self._trained: set[str] = set()
        self._on: str | None = None

    def put(
        self, name: str, lora: LoraSettings, seed: int, *, kept: Kept | None, trained: bool
    ) -> None:
        """Put on adapters: a copy of those that were ``kept``, or new ones."""
        from peft import set_peft_model_state_dict

        if self._tuner is None:
            self._tuner = with_adapters(self.network, lora, seed, what="PPO", name=name)
        else:
            config = replace(next(iter(self._tuner.peft_config.values())))
            torch.manual_seed(seed % 2**32)
            self._tuner.add_adapter(name, config)
        if kept is not None:
            layers = {key: t for key, t in kept.tensors().items() if _of_layer(key)}
            set_peft_model_state_dict(self._tuner, layers, adapter_name=name)
        if trained:
            self._trained.add(name)
        self._tuner.base_model.set_adapter(name)
        self._on = name
        self._freeze_others()

    def trained(self, name: str | None) -> dict[str, torch.nn.Parameter]:
        """The weights of adapters that are trained, by the layer they are on."""
        if name not in self._trained:
            return {}
        weights = self.network.named_parameters()
        return {key: weight for key, weight in weights if "lora_" in key and f".{name}." in key}

    def switch_on(self, name: str | None) -> None:
        """Let the network compute with these adapters, or with none."""
        if name == self._on:
            return
        if name is None:
            self._tuner.base_model.disable_adapter_layers()
        else:
            self._tuner.base_model.enable_adapter_layers()
            self._tuner.base_model.set_adapter(name)
        self._on = name
        self._freeze_others()

    def keep(self, name: str, result: Path, found: OneBase) -> None:
        """Write these adapters beside a model."""
        keep_adapters(
            self._tuner,
            result,
            base=found.base,
            fingerprint=found.fingerprint,
            settings=found.lora,
            name=name,
        )

    def config(self, name: str) -> Any:
        """peft's configuration of these adapters."""
        return self._tuner.peft_config[name]

    def _freeze_others(self) -> None:
        """peft lets those learn that are on; here it is those that PPO trains, always."""
        for key, weight in self.network.named_parameters():
            if "lora_" in key:
                weight.requires_grad_(any(f".{name}." in key for name in self._trained))


class OneBaseNetworks:
    """PPO's networks on one base; see :class:`~.networks.Networks`.

    ``offset`` is the preference model's stored mean. ``scorer`` is the preference model's network.
    """

    apart = False

    def __init__(self, found: OneBase, offset: float, seed: int, *, device: str = "auto"):
        network, _ = load_parts(
            found.base, device=device, dtype="float32", quantize=quantize_of(found.lora)
        )
        self._found = found
        _widen(network, _scorer_config(found.preference_model).get_text_config().vocab_size)
        shared = self._shared = Shared(network)
        lora, scorer = found.lora, found.preference_model
        policy_seed, critic_seed = derive_seed(seed, "policy"), derive_seed(seed, "critic")
        shared.put("policy", lora, policy_seed, kept=found.policy, trained=True)
        if found.policy is not None:
            shared.put("reference", lora, policy_seed, kept=found.policy, trained=False)
        shared.put("critic", lora, critic_seed, kept=scorer, trained=True)
        self.policy = Through(shared, "policy", network)
        self._reference = Through(shared, "reference" if found.policy else None, network)
        self.scorer = self.scoring_network("preference_model", scorer)
        head = copy.deepcopy(self.scorer.get_submodule(head_name(scorer))).requires_grad_(True)
        self.critic = Critic(Through(shared, "critic", network.base_model), head, offset)

    def scoring_network(self, name: str, kept: Kept) -> Through:
        """A preference model on the shared base, by its frozen adapters and its head."""
        self._shared.put(name, self._found.lora, 0, kept=kept, trained=False)
        network = _scorer_on_meta(_scorer_config(kept))
        setattr(network, network.base_model_prefix, self._shared.network.base_model)
        place, head = self._shared.network.device, head_name(kept)
        layer = network.get_submodule(head).to_empty(device=place)
        layer.load_state_dict(
            {
                key.removeprefix(f"{_PREFIX}{head}."): tensor
                for key, tensor in kept.tensors().items()
                if not _of_layer(key)
            }
        )
        layer.requires_grad_(False)
        return Through(self._shared, name, network.eval())

    @property
    def models(self) -> tuple[Any, ...]:
        """The base, on which all of them stand."""
        return (self._shared.network,)

    def reference_logits(self, batch: Batch) -> Tensor:
        """By the adapters as they were in the beginning, or by none."""
        return response_logits(self._reference, batch)

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Nothing to do: the preference model switches its own adapters on."""
        yield

    def save_policy(self, folder: Path) -> None:
        """The base with the policy's adapters merged in, and they alone in ``folder/adapter``."""
        self._shared.keep("policy", folder, self._found)
        kept = kept_adapters(folder)
        assert kept is not None
        quantized = self._found.lora.quantize is not None
        dtype = "stored" if quantized else "float32"
        plain, _ = load_parts(self._found.base, device="cpu", dtype=dtype)
        merged = merged_into(plain, self._shared.config("policy"), kept.tensors())
        with without_bars():
            merged.save_pretrained(folder)


def _of_layer(key: str) -> bool:
    """Whether a tensor of kept adapters is of a layer, and not of the head."""
    return ".lora_" in key


def head_name(kept: Kept) -> str:
    """The layer that gives the score, which was trained whole."""
    key = next(key for key in kept.tensors() if not _of_layer(key))
    return key.removeprefix(_PREFIX).rpartition(".")[0]


def _scorer_config(kept: Kept) -> Any:
    """The configuration of the preference model that the adapters are merged into beside them."""
    return AutoConfig.from_pretrained(str(kept.folder.parent), local_files_only=True)


def _scorer_on_meta(config: Any) -> Any:
    """The preference model without weights: its trunk is put in place of the one it has."""
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config)


def _one_trunk(base: str | Path, kept: Kept) -> bool:
    """Whether the trunks of policy and preference model are of one class."""
    config = AutoConfig.from_pretrained(str(base), local_files_only=True)
    with torch.device("meta"):
        policy = AutoModelForCausalLM.from_config(config)
    return type(policy.base_model) is type(_scorer_on_meta(_scorer_config(kept)).base_model)


def _widen(network: Any, rows: int) -> None:
    """Give the embeddings the rows of tokens that the preference model alone has: its pad token.

    They are zeros, as where it was begun. The policy's logits stay those of its own tokens.
    """
    embeddings, logits = network.get_input_embeddings(), network.get_output_embeddings()
    own = embeddings.weight
    if rows <= len(own):
        return
    wide = torch.nn.Parameter(own.new_zeros(rows, own.shape[1]), requires_grad=False)
    wide.data[: len(own)] = own.data
    if logits is not None and logits.weight is own:
        logits.weight = torch.nn.Parameter(wide.data[: len(own)], requires_grad=False)
    embeddings.weight, embeddings.num_embeddings = wide, rows
