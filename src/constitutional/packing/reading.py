"""The last layer's MLP for those tokens alone whose states are read.

A score is read at the end of a text, a loss at the tokens of an answer. The last layer's keys and
values are needed of all tokens before them; what its MLP would make of the others is not. A forward
pass that gives the model ``read_at=...`` beside its layout leaves them out: their last states are
then those before the MLP, and nothing.

A layer keeps its MLP as ``mlp`` in most architectures of `transformers`; where it does not, all
tokens are computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn

#: Layers that are watched already: contexts may be entered within each other.
_watched: WeakSet[nn.Module] = WeakSet()


def last_layers(models: Iterable[Any]) -> list[nn.Module]:
    """The last layer of each model that has an ``mlp``; one that models share is there once."""
    found: dict[int, nn.Module] = {}
    for model in models:
        layers = [layer for layer in model.base_model.modules() if _mlp(layer) is not None]
        found |= {id(layer): layer for layer in layers[-1:]}
    return list(found.values())


@contextmanager
def reading_some(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Let ``layers``, the last of their models, heed ``read_at``.

    A backward pass that computes activations again has to stand inside too.
    """
    with ExitStack() as until:
        for layer in layers:
            if layer not in _watched:
                _watched.add(layer)
                until.callback(_watched.discard, layer)
                for hook in _Watched().hooks(layer):
                    until.callback(hook.remove)
        yield


class _Watched:
    """What a layer was told in this pass, and what that makes of its MLP."""

    def __init__(self) -> None:
        self._read: Tensor | None = None
        self._whole: Tensor | None = None

    def hooks(self, layer: nn.Module) -> list[Any]:
        """Those of the layer, which is told, and of its MLP."""
        mlp = _mlp(layer)
        assert mlp is not None
        return [
            layer.register_forward_pre_hook(self._told, with_kwargs=True),
            mlp.register_forward_pre_hook(self._narrow),
            mlp.register_forward_hook(self._widen),
        ]

    def _told(self, layer: nn.Module, given: Any, named: dict[str, Any]) -> None:
        self._read = named.get("read_at")

    def _narrow(self, mlp: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Of the states (1, tokens, width) those that are read."""
        if self._read is None:
            return None
        self._whole, *others = given
        return (self._whole.index_select(1, self._read), *others)

    def _widen(self, mlp: nn.Module, given: Any, output: Any) -> Tensor | None:
        """(1, read, width) as (1, tokens, width), zeros elsewhere.

        TypeError for anything else, by which such a model is found not to pack when it is tried.
        """
        if self._read is None or self._whole is None:
            return None
        if not isinstance(output, Tensor):  # the router's choices beside the states (gpt-oss)
            raise TypeError(f"{type(mlp).__name__} gives more than states")
        empty = output.new_zeros((*self._whole.shape[:-1], output.shape[-1]))
        self._whole = None
        return empty.index_copy(1, self._read, output)


def _mlp(layer: nn.Module) -> nn.Module | None:
    mlp = getattr(layer, "mlp", None)
    return mlp if isinstance(mlp, nn.Module) else None
