"""Random numbers of models, from a generator that is passed: the process-wide ones are neither read nor seeded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_RANDOM = frozenset(
    {torch.rand, torch.randn, Tensor.normal_, Tensor.uniform_}
    | {nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_}
)


class WeightsFrom(TorchFunctionMode):
    """Within the block, and in this thread alone, modules draw their initial weights from a generator.

    Example:
        >>> with WeightsFrom(torch.Generator().manual_seed(0)):
        ...     layer = nn.Linear(3, 2)
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        drawn = {"generator": self._generator} if func in _RANDOM else {}
        return func(*args, **{**(kwargs or {}), **drawn})


class Dropout(nn.Module):
    """Dropout that draws from the generator of `draws_from`; outside of it from torch's own, as `nn.Dropout` does.

    Args:
        p: the fraction of values that is dropped in training.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return x * _kept(x, 1 - self.p, self.generator) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


@contextlib.contextmanager
def draws_from(module: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Within the block every layer that has a `generator` draws from this one, which is on the module's device."""
    layers: list[Any] = [layer for layer in module.modules() if hasattr(layer, "generator")]
    for layer in layers:
        layer.generator = generator
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None


@torch.compiler.disable  # generators cannot be compiled
def _kept(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """1 / share at this share of places, else 0."""
    return torch.empty_like(x).bernoulli_(share, generator=generator).div_(share)
