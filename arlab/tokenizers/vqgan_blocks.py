"""The modules of convolutional autoencoders of the VQGAN lineage.

Letters: B batch, C channels, H and W sides of a map, S = H · W its cells.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from arlab.precision import in_float32
from arlab.tokenizers.vqgan_parts import Shortcut


class ResidualBlock(nn.Module):
    """h = conv(silu(norm(conv(silu(norm(x)))))), plus x or the shortcut.

    Args:
        channels: of the input.
        out_channels: of the output.
        norm_groups: of GroupNorm.
        bias: whether its convolutions have biases.
        shortcut: what is added where the numbers of channels differ.
    """

    def __init__(self, channels: int, out_channels: int, norm_groups: int, bias: bool, shortcut: Shortcut) -> None:
        super().__init__()
        self.norm1 = GroupNorm(norm_groups, channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1, bias=bias)
        self.norm2 = GroupNorm(norm_groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.recipe = shortcut
        self.shortcut = None if channels == out_channels else shortcut.build(channels, out_channels, bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW: Tensor = self.conv1(F.silu(self.norm1(x_BCHW)))
        h_BCHW = self.conv2(F.silu(self.norm2(h_BCHW)))
        if self.shortcut is None:
            return x_BCHW + h_BCHW
        added_BCHW: Tensor = self.shortcut(self.recipe.source(x_BCHW, h_BCHW))
        return added_BCHW + h_BCHW


class MapAttention(nn.Module):
    """x + out(softmax(q kᵀ / √C) v), q | k | v = qkv(norm(x)), over all cells of a map with a single head.

    Args:
        channels: C.
        norm_groups: of GroupNorm.
    """

    def __init__(self, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(norm_groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        qkv_B1SC = self.qkv(self.norm(x_BCHW)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
        h_B1SC = F.scaled_dot_product_attention(*qkv_B1SC)
        h_BCHW = h_B1SC.squeeze(1).transpose(1, 2).reshape(x_BCHW.shape)
        out_BCHW: Tensor = self.out(h_BCHW)
        return x_BCHW + out_BCHW


class GroupNorm(nn.GroupNorm):
    """Group normalisation, in float32 under autocast.

    Group Normalization, arXiv 1803.08494.

    Args:
        norm_groups: number of groups.
        channels: C.
        eps: added to variances.
    """

    def __init__(self, norm_groups: int, channels: int, eps: float = 1e-6) -> None:
        super().__init__(norm_groups, channels, eps=eps)

    @in_float32
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input)


class Upsample(nn.Module):
    """Both sides doubled by repeating cells, then a 3 · 3 convolution.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x_BCHW, scale_factor=2, mode="nearest"))
        return out
