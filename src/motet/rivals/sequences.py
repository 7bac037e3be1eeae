"""Networks from the bins of trials to one output per bin: MLP, GRU, TCN and the Neural Data Transformer.

All read (trial, time, input), zero where nothing was observed, and which bins of a trial are there; what they say of a
bin never depends on padding. One that is causal says it from the bins up to then, any other from the whole trial.
"""

from __future__ import annotations

import abc
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motet.models.layers import Block, Clock, readable
from motet.models.randomness import Dropout

Values = Float[Tensor, "trial time input"]
Components = Float[Tensor, "trial time component"]
Hidden = Float[Tensor, "trial time hidden"]
Bins = Bool[Tensor, "trial time"]


class Sequence(nn.Module, abc.ABC):
    """What the networks share.

    1. Inputs drop out, and the rest is projected onto components of them.
    2. Layers make of these what is known at each bin (`layers` and `hidden` of a subclass).
    3. What is known drops out too, and a Linear makes the outputs of each bin.

    Args:
        components: (input, component), of all inputs.
        n_outputs: per bin.
        width: of hidden layers.
        dropout: the share of hidden states that drops out.
        input_dropout: the share of inputs that does.
        is_causal: whether a bin is read with earlier bins alone.
    """

    components: Tensor

    def __init__(
        self,
        components: Float[Tensor, "input component"],
        n_outputs: int,
        *,
        width: int,
        dropout: float,
        input_dropout: float,
        is_causal: bool,
    ) -> None:
        super().__init__()
        self.n_inputs, self.n_components = components.shape
        self.width, self.is_causal = width, is_causal
        self.register_buffer("components", components)
        self.input_dropout, self.dropout = Dropout(input_dropout), Dropout(dropout)
        self.to_output = nn.Linear(self.layers(), n_outputs)

    def forward(self, values: Values, bins: Bins) -> Float[Tensor, "trial time output"]:
        return self.to_output(self.dropout(self.read(values, bins)))

    def read(self, values: Values, bins: Bins) -> Hidden:
        """Steps 1 and 2."""
        return self.hidden(self.input_dropout(values) @ self.components, bins)

    @abc.abstractmethod
    def layers(self) -> int:
        """Make the layers; how many numbers per bin `hidden` gives."""

    @abc.abstractmethod
    def hidden(self, x: Components, bins: Bins) -> Hidden:
        """What is known at each bin."""


class MLP(Sequence):
    """Two hidden layers on a few bins around each: the bins that linear rivals read, and zeros beyond the trial."""

    LAGS: ClassVar[tuple[int, ...]] = tuple(range(-7, 8))
    CAUSAL_LAGS: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4)

    def layers(self) -> int:
        self.lags = self.CAUSAL_LAGS if self.is_causal else self.LAGS
        self.first = nn.Linear(len(self.lags) * self.n_components, self.width)
        self.second = nn.Linear(self.width, self.width)
        return self.width

    def hidden(self, x: Components, bins: Bins) -> Hidden:
        x = F.relu(self.first(_lagged(x, self.lags)))
        return F.relu(self.second(self.dropout(x)))


class GRU(Sequence):
    """Gated recurrent units; where later bins may be read, others that begin at the end of the trial."""

    def layers(self) -> int:
        self.forwards = nn.GRU(self.n_components, self.width, batch_first=True)
        self.backwards = None if self.is_causal else nn.GRU(self.n_components, self.width, batch_first=True)
        return self.width if self.is_causal else 2 * self.width

    def hidden(self, x: Components, bins: Bins) -> Hidden:
        found, _ = self.forwards(x)
        if self.backwards is None:
            return found
        # Each trial is turned about its own end, so that padding stays behind.
        time = torch.arange(bins.shape[1], device=bins.device)
        length = torch.where(bins, time + 1, 0).amax(dim=1, keepdim=True)
        turned = torch.where(time < length, length - 1 - time, time)[..., None]
        back, _ = self.backwards(x.gather(1, turned.expand_as(x)))
        return torch.cat((found, back.gather(1, turned.expand_as(back))), dim=-1)


class TCN(Sequence):
    """Dilated convolutions with residuals (Bai et al. 2018, arXiv:1803.01271), which reach 31 bins far.

    Beyond the end of a trial, and in bins where nothing was observed, every layer reads zeros.
    """

    DILATIONS: ClassVar[tuple[int, ...]] = (1, 2, 4, 8)

    def layers(self) -> int:
        self.first = nn.Linear(self.n_components, self.width)
        self.norms = nn.ModuleList(nn.LayerNorm(self.width) for _ in self.DILATIONS)
        self.convolutions = nn.ModuleList(nn.Linear(3 * self.width, self.width) for _ in self.DILATIONS)
        return self.width

    def hidden(self, x: Components, bins: Bins) -> Hidden:
        x = self.first(x)
        for dilation, norm, convolution in zip(self.DILATIONS, self.norms, self.convolutions, strict=True):
            lags = (0, dilation, 2 * dilation) if self.is_causal else (-dilation, 0, dilation)
            x = x + self.dropout(convolution(_lagged(F.relu(norm(x)) * bins[..., None], lags)))
        return x


class NDT(Sequence):
    """The Neural Data Transformer: all individuals of a bin are one token, and attention goes over bins.

    Before it learns a target, it learns to fill in bins that are hidden: `rates` says the logarithm of the count that
    is expected of each input, and `poisson_loss` how well that fits.

    Source: Ye and Pandarinath, Neurons, Behavior, Data Analysis, and Theory 2021, arXiv:2108.01210. Here queries and
    keys carry their time, and the width of a token is not the number of individuals.
    """

    DEPTH: ClassVar[int] = 2
    N_HEADS: ClassVar[int] = 4

    def layers(self) -> int:
        self.first = nn.Linear(self.n_components, self.width)
        self.clock = Clock(self.width)
        self.blocks = nn.ModuleList(
            Block(self.width, self.N_HEADS, 2.0, self.dropout.p, is_temporal=True, is_causal=self.is_causal)
            for _ in range(self.DEPTH)
        )
        self.norm = nn.LayerNorm(self.width)
        self.to_rates = nn.Linear(self.width, self.n_inputs)
        return self.width

    def hidden(self, x: Components, bins: Bins) -> Hidden:
        x = self.first(x) + self.clock(x.shape[1])
        read = readable(bins)
        for block in self.blocks:
            x = block(x, read)
        return self.norm(x)

    def rates(self, values: Values, bins: Bins) -> Values:
        """What is expected of every input in each bin: logarithms of counts, or values."""
        return self.to_rates(self.read(values, bins))


def _lagged(x: Float[Tensor, "trial time width"], lags: tuple[int, ...]) -> Float[Tensor, "trial time lagged"]:
    """Side by side the bins t − lag, zeros beyond either end."""
    before, after, n_bins = max(0, *lags), max(0, *(-lag for lag in lags)), x.shape[1]
    padded = F.pad(x, (0, 0, before, after))
    return torch.cat([padded[:, before - lag : before - lag + n_bins] for lag in lags], dim=-1)


def poisson_loss(log_rates: Float[Tensor, "*place"], counts: Float[Tensor, "*place"]) -> Float[Tensor, "*place"]:
    """The Poisson negative log-likelihood of counts, but for a constant: rate − count · log(rate).

    It is least where rates are the counts. With the two exchanged, as in the released code of a known baseline, it has
    no least value: any rate would be called too small.

    Example:
        >>> poisson_loss(torch.tensor([0.0, 0.7, 2.0]), torch.tensor([2.0, 2.0, 2.0])).argmin()
        tensor(1)
    """
    return log_rates.exp() - counts * log_rates
