"""Self-attention over slots, through PyTorch's scaled dot product attention.

Letters: B batch, H heads, Q query rows (the slots fed), K key rows (kept and fed), D width, E width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from arlab.backbones.cache import Cache
from arlab.backbones.norms import NoQKNorm, QKNorm
from arlab.configurable import Configurable
from arlab.ranges import require
from arlab.rotation import Rotation


@dataclass(frozen=True)
class Mask:
    """Who sees whom in one pass: a table, plain causality, or (neither) everyone everything.

    Attributes:
        allowed: [B, 1,] Q, K bool; or None.
        causal: the fast path of the teacher-forced causal pass (Q = K).
    """

    allowed: Tensor | None = None
    causal: bool = False


@dataclass(frozen=True)
class Context:
    """What a layer needs besides its input.

    Attributes:
        mask: who sees whom.
        rotation: rotary positions of the slots fed; or None.
        cache: where to write keys and values; None in a teacher-forced pass.
        fed: which of the slots fed the layer gets, as indices; None = all.
    """

    mask: Mask
    rotation: Rotation | None = None
    cache: Cache | None = None
    fed: Tensor | None = None


class Attention(Configurable):
    """A recipe for multi-head self-attention: softmax(scale · q kᵀ) v.

    Args:
        num_heads: H; must divide the width.
        qk_norm: what happens to queries and keys before they are rotated.
        qkv_bias: whether the query, key and value projections have biases.
        out_bias: whether the output projection has one.
    """

    def __init__(
        self, *, num_heads: int = 4, qk_norm: QKNorm | None = None, qkv_bias: bool = False, out_bias: bool = False
    ) -> None:
        require("backbone.attention.num_heads", num_heads, at_least=1)
        self.num_heads = num_heads
        self.qk_norm = NoQKNorm() if qk_norm is None else qk_norm
        self.qkv_bias = qkv_bias
        self.out_bias = out_bias

    def build(self, width: int, layer: int, dropout: float) -> AttentionModule:
        """A fresh layer; ``layer`` is its number in the cache."""
        if width % self.num_heads:
            raise ValueError(f"backbone.attention.num_heads: {self.num_heads} heads do not divide a width of {width}")
        return AttentionModule(width, layer, dropout, self)

    def head_width(self, width: int) -> int:
        """E."""
        return width // self.num_heads


class AttentionModule(nn.Module):
    """One attention layer."""

    def __init__(self, width: int, layer: int, dropout: float, recipe: Attention) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = recipe.num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=recipe.qkv_bias)
        self.out = nn.Linear(width, width, bias=recipe.out_bias)
        self.qk_norm = recipe.qk_norm.build(recipe.num_heads, width // recipe.num_heads)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h_BQD: Tensor, context: Context) -> Tensor:
        """Attend from the slots fed to the slots kept and fed."""
        qkv_3BHQE = self.qkv(h_BQD).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q_BHQE, k_BHKE, v_BHKE = qkv_3BHQE.unbind(0)
        q_BHQE, k_BHKE, scale = self.qk_norm(q_BHQE, k_BHKE)
        if context.rotation is not None:
            q_BHQE, k_BHKE = context.rotation(q_BHQE), context.rotation(k_BHKE)
        if context.cache is not None:
            k_BHKE, v_BHKE = context.cache.extend(self.layer, k_BHKE, v_BHKE, context.fed)
        mixed_BHQE = F.scaled_dot_product_attention(
            q_BHQE, k_BHKE, v_BHKE, attn_mask=context.mask.allowed, is_causal=context.mask.causal, scale=scale
        )
        out: Tensor = self.dropout(self.out(mixed_BHQE.transpose(1, 2).flatten(-2)))
        return out

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}"
