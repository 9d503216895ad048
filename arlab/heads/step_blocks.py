"""The blocks of a transformer over the tokens of a step: where time and condition enter them.

Letters: R samples times noised copies, M tokens predicted, D width of the backbone, W width of the block, H heads,
E width of a head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from arlab.configurable import Configurable
from arlab.heads.groups import Groups
from arlab.rotation import Rotation

_EPS = 1e-6


@dataclass(frozen=True)
class Told:
    """What a block is told of the tokens.

    Attributes:
        time: (R, M, W) how far each is noised.
        condition: (R, M, W) what the backbone says of it.
        hidden: (R, M, D) its hidden vector as the backbone gave it, for blocks that look at it.
        rotation: of queries and keys, by its place.
        groups: which are drawn together.
    """

    time: Tensor
    condition: Tensor
    hidden: Tensor | None
    rotation: Rotation
    groups: Groups


class StepBlock(Configurable, ABC):
    """A recipe for a block: tokens that are drawn together see each other, and what the backbone says of them."""

    looks_at_hidden: bool = False
    """Whether it looks at the backbone's hidden vectors themselves."""

    @abstractmethod
    def build(self, width: int, num_heads: int, hidden_width: int) -> nn.Module:
        """A fresh module from ((R, M, W), ``Told``) to (R, M, W); ``hidden_width`` is D."""


class ModulatedBlock(StepBlock):
    """adaLN per token, of time plus condition, around attention and a GELU-gated MLP (FlowAR-S).

    x ← x + gate · branch(norm(x) · (1 + scale) + shift), the six vectors from a linear map of SiLU(time + condition);
    norm(x) = x / rms(x).

    FlowAR: Scale-wise Autoregressive Image Generation Meets Flow Matching, arXiv 2412.15205.
    """

    def __init__(self) -> None:
        pass

    def build(self, width: int, num_heads: int, hidden_width: int) -> nn.Module:
        return _Modulated(width, num_heads)


class CrossBlock(StepBlock):
    """Attention modulated by time alone, then cross-attention to the hidden vectors, then the MLP (FlowAR-L and -H).

    The three vectors of attention are of SiLU(time), those of the GELU-gated MLP of SiLU(time + condition). In between
    x ← x + cross(norm(x), norm(h)), norms with weights, keys rotated as queries are; only the hidden vectors of tokens
    drawn together are seen.

    FlowAR: Scale-wise Autoregressive Image Generation Meets Flow Matching, arXiv 2412.15205.
    """

    looks_at_hidden = True

    def __init__(self) -> None:
        pass

    def build(self, width: int, num_heads: int, hidden_width: int) -> nn.Module:
        return _Cross(width, num_heads, hidden_width)


class _Modulated(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention = _SelfAttention(width, num_heads)
        self.mlp = _MLP(width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x_RMW: Tensor, told: Told) -> Tensor:
        six = self.modulation(F.silu(told.time + told.condition)).chunk(6, -1)
        gate1, gate2, scale1, scale2, shift1, shift2 = six
        x_RMW = x_RMW + gate1 * self.attention(rms_normed(x_RMW) * (1 + scale1) + shift1, told)
        out_RMW: Tensor = x_RMW + gate2 * self.mlp(rms_normed(x_RMW) * (1 + scale2) + shift2)
        return out_RMW


class _Cross(nn.Module):
    def __init__(self, width: int, num_heads: int, hidden_width: int) -> None:
        super().__init__()
        self.attention = _SelfAttention(width, num_heads)
        self.norm = nn.RMSNorm(width, eps=_EPS)
        self.hidden_norm = nn.RMSNorm(hidden_width, eps=_EPS)
        self.cross = _CrossAttention(width, num_heads, hidden_width)
        self.mlp = _MLP(width)
        self.attention_modulation = nn.Linear(width, 3 * width)
        self.mlp_modulation = nn.Linear(width, 3 * width)

    def forward(self, x_RMW: Tensor, told: Told) -> Tensor:
        assert told.hidden is not None, "it looks at the hidden vectors"
        gate, scale, shift = self.attention_modulation(F.silu(told.time)).chunk(3, -1)
        x_RMW = x_RMW + gate * self.attention(rms_normed(x_RMW) * (1 + scale) + shift, told)
        x_RMW = x_RMW + self.cross(self.norm(x_RMW), self.hidden_norm(told.hidden), told)
        gate, scale, shift = self.mlp_modulation(F.silu(told.time + told.condition)).chunk(3, -1)
        out_RMW: Tensor = x_RMW + gate * self.mlp(rms_normed(x_RMW) * (1 + scale) + shift)
        return out_RMW


class _SelfAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x_RMW: Tensor, told: Told) -> Tensor:
        q, k, v = self.qkv(x_RMW).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out_RMW: Tensor = self.out(_attended(q, k, v, told))
        return out_RMW


class _CrossAttention(nn.Module):
    def __init__(self, width: int, num_heads: int, hidden_width: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(hidden_width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x_RMW: Tensor, hidden_RMD: Tensor, told: Told) -> Tensor:
        q = self.query(x_RMW).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.key_value(hidden_RMD).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out_RMW: Tensor = self.out(_attended(q, k, v, told))
        return out_RMW


class _MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 8 * width // 3
        self.gate = nn.Linear(width, hidden)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.gate(x)) * self.up(x))
        return out


def _attended(q_RHME: Tensor, k_RHME: Tensor, v_RHME: Tensor, told: Told) -> Tensor:
    """What each token makes of those drawn together with it, (R, M, W)."""
    mixed_RHME = told.groups.attend(told.rotation(q_RHME), told.rotation(k_RHME), v_RHME)
    return mixed_RHME.transpose(1, 2).flatten(-2)


def rms_normed(x: Tensor) -> Tensor:
    """x / rms(x)."""
    return F.rms_norm(x, x.shape[-1:], eps=_EPS)
