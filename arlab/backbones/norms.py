"""Normalisation: recipes for the norms of a block, and for queries and keys; in float32 under autocast.

Letters: B batch, H heads, S slots, E width of a head.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.configurable import Configurable
from arlab.precision import in_float32
from arlab.ranges import require


class Norm(Configurable, ABC):
    """A recipe for a normalisation over the width."""

    @abstractmethod
    def build(self, width: int) -> nn.Module:
        """A fresh module for vectors of this width."""


class RMSNorm(Norm):
    """x / rms(x) · weight.

    Root Mean Square Layer Normalization, arXiv 1910.07467.

    Args:
        eps: added to the mean square.
        affine: whether there is a learned weight.
    """

    def __init__(self, *, eps: float = 1e-5, affine: bool = True) -> None:
        require("norm.eps", eps, at_least=0)
        self.eps = eps
        self.affine = affine

    def build(self, width: int) -> nn.Module:
        return _RMS(width, eps=self.eps, elementwise_affine=self.affine)


class LayerNorm(Norm):
    """(x - mean) / std · weight + bias.

    Layer Normalization, arXiv 1607.06450.

    Args:
        eps: added to the variance.
        affine: whether there are a learned weight and bias.
    """

    def __init__(self, *, eps: float = 1e-6, affine: bool = True) -> None:
        require("norm.eps", eps, at_least=0)
        self.eps = eps
        self.affine = affine

    def build(self, width: int) -> nn.Module:
        return _Layer(width, eps=self.eps, elementwise_affine=self.affine)


class QKNorm(Configurable, ABC):
    """A recipe for what happens to queries and keys before they meet; it owns the softmax scale."""

    @abstractmethod
    def build(self, num_heads: int, head_width: int) -> QKNormModule:
        """A fresh module for one attention layer."""


class QKNormModule(nn.Module, ABC):
    """Queries and keys (B, H, S, E) to normalised ones and the softmax scale that belongs to them."""

    @abstractmethod
    def forward(self, q_BHSE: Tensor, k_BHSE: Tensor) -> tuple[Tensor, Tensor, float]:
        """Normalised queries and keys, and the factor in front of their product."""


class NoQKNorm(QKNorm):
    """Leave queries and keys as they are; softmax scale = factor / √E.

    Args:
        factor: 1 almost everywhere; VAR without l2-norm uses 0.25.
    """

    def __init__(self, *, factor: float = 1.0) -> None:
        require("qk_norm.factor", factor, above=0)
        self.factor = factor

    def build(self, num_heads: int, head_width: int) -> QKNormModule:
        return _Plain(self.factor / math.sqrt(head_width))


class L2QKNorm(QKNorm):
    """Unit vectors, the query times a learned scale per head: q · exp(min(s, log max_scale)) / |q|; softmax scale 1.

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905.

    Args:
        init_scale: the scale at the start.
        max_scale: the scale is clamped here.
    """

    def __init__(self, *, init_scale: float = 4.0, max_scale: float = 100.0) -> None:
        require("qk_norm.init_scale", init_scale, above=0)
        require("qk_norm.max_scale", max_scale, above=0)
        self.init_scale = init_scale
        self.max_scale = max_scale

    def build(self, num_heads: int, head_width: int) -> QKNormModule:
        return _L2(num_heads, math.log(self.init_scale), math.log(self.max_scale))


class NormedQK(QKNorm):
    """Any norm over the width of a head, on queries and keys; softmax scale 1 / √E.

    Randomized Autoregressive Visual Generation (RAR), arXiv 2411.00776.

    Args:
        norm: ``RMSNorm`` or ``LayerNorm`` (RAR).
    """

    def __init__(self, *, norm: Norm | None = None) -> None:
        self.norm = RMSNorm(eps=1e-6) if norm is None else norm

    def build(self, num_heads: int, head_width: int) -> QKNormModule:
        return _Normed(self.norm.build(head_width), self.norm.build(head_width), 1 / math.sqrt(head_width))


class _RMS(nn.RMSNorm):
    @in_float32
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class _Layer(nn.LayerNorm):
    @in_float32
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input)


class _Plain(QKNormModule):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, q_BHSE: Tensor, k_BHSE: Tensor) -> tuple[Tensor, Tensor, float]:
        return q_BHSE, k_BHSE, self.scale

    def extra_repr(self) -> str:
        return f"scale={self.scale:.4g}"


class _L2(QKNormModule):
    def __init__(self, num_heads: int, log_scale: float, log_max: float) -> None:
        super().__init__()
        self.log_scale_H = nn.Parameter(torch.full((num_heads,), log_scale))
        self.log_max = log_max

    @in_float32
    def forward(self, q_BHSE: Tensor, k_BHSE: Tensor) -> tuple[Tensor, Tensor, float]:
        scale_H11 = self.log_scale_H.clamp(max=self.log_max).exp()[:, None, None]
        return F.normalize(q_BHSE, dim=-1) * scale_H11, F.normalize(k_BHSE, dim=-1), 1.0

    def extra_repr(self) -> str:
        return f"max_scale={math.exp(self.log_max):.4g}"


class _Normed(QKNormModule):
    def __init__(self, q_norm: nn.Module, k_norm: nn.Module, scale: float) -> None:
        super().__init__()
        self.q_norm = q_norm
        self.k_norm = k_norm
        self.scale = scale

    def forward(self, q_BHSE: Tensor, k_BHSE: Tensor) -> tuple[Tensor, Tensor, float]:
        return self.q_norm(q_BHSE), self.k_norm(k_BHSE), self.scale
