"""The feed-forward part of a block, gated or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum

from torch import Tensor, nn
from torch.nn import functional as F

from arlab.configurable import Configurable
from arlab.ranges import require


class Activation(Enum):
    """The non-linearity between the two projections."""

    GELU = "erf GELU"
    GELU_TANH = "tanh approximation of GELU"
    SILU = "x · sigmoid(x)"
    RELU = "max(x, 0)"

    def __call__(self, x: Tensor) -> Tensor:
        """Apply it."""
        if self is Activation.GELU_TANH:
            return F.gelu(x, approximate="tanh")
        if self is Activation.GELU:
            return F.gelu(x)
        return F.silu(x) if self is Activation.SILU else F.relu(x)


class FeedForward(Configurable, ABC):
    """A recipe for the feed-forward part."""

    @abstractmethod
    def build(self, width: int, dropout: float) -> nn.Module:
        """A fresh module (…, D) to (…, D), dropout on its output."""


class MLP(FeedForward):
    """W2 · act(W1 x).

    Args:
        ratio: hidden width over width.
        activation: the non-linearity.
        bias: whether the projections have biases.
    """

    def __init__(self, *, ratio: float = 4.0, activation: Activation = Activation.GELU_TANH, bias: bool = True) -> None:
        require("backbone.feed_forward.ratio", ratio, above=0)
        self.ratio = ratio
        self.activation = activation
        self.bias = bias

    def build(self, width: int, dropout: float) -> nn.Module:
        # At least one, however narrow: a ratio below 1 of a small width must not leave nothing.
        return _MLP(width, max(1, int(width * self.ratio)), self.activation, self.bias, dropout)


class GatedMLP(FeedForward):
    """W2 · (act(W1 x) · W3 x), hidden width round_up(int(ratio · D), multiple_of); SwiGLU by default.

    GLU Variants Improve Transformer, arXiv 2002.05202.

    Args:
        ratio: hidden width over width, before rounding (8/3 costs as much as an MLP of ratio 4).
        multiple_of: the hidden width is rounded up to a multiple of this.
        activation: SILU (LlamaGen) or GELU (the gate of FlowAR and xAR, which their code calls SwiGLU).
        bias: whether the projections have biases.
    """

    def __init__(
        self,
        *,
        ratio: float = 8 / 3,
        multiple_of: int = 64,
        activation: Activation = Activation.SILU,
        bias: bool = False,
    ) -> None:
        require("backbone.feed_forward.ratio", ratio, above=0)
        require("backbone.feed_forward.multiple_of", multiple_of, at_least=1)
        self.ratio = ratio
        self.multiple_of = multiple_of
        self.activation = activation
        self.bias = bias

    def build(self, width: int, dropout: float) -> nn.Module:
        # The small addend keeps 8/3 of a multiple of three from losing one to rounding.
        hidden = max(1, int(width * self.ratio + 1e-6))
        hidden = -(-hidden // self.multiple_of) * self.multiple_of
        return _GatedMLP(width, hidden, self.activation, self.bias, dropout)


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int, activation: Activation, bias: bool, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, width, bias=bias)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.fc2(self.activation(self.fc1(x))))
        return out

    def extra_repr(self) -> str:
        return f"activation={self.activation.name}"


class _GatedMLP(nn.Module):
    def __init__(self, width: int, hidden: int, activation: Activation, bias: bool, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.down(self.activation(self.gate(x)) * self.up(x)))
        return out

    def extra_repr(self) -> str:
        return f"activation={self.activation.name}"
