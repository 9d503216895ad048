"""How the condition reaches the blocks beside the prefix: not at all, by adaLN, or by one adaLN shared by all blocks.

Letters: B batch, S slots, D width. A condition is (B, 1, D), one per image, or (B, S, D), one per slot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.configurable import Configurable
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout, Slots
from arlab.precision import in_float32


@dataclass(frozen=True)
class Shift:
    """What modulates one residual branch: branch(norm(x) · (1 + scale) + shift) · gate."""

    scale: Tensor
    shift: Tensor
    gate: Tensor


@dataclass(frozen=True)
class Modulated:
    """A condition, worked out for every block: computed once per run where it does not change.

    Attributes:
        blocks: per block, for attention and feed-forward; None = unmodulated.
        final: (scale, shift) in front of the head; None = unmodulated.
    """

    blocks: tuple[tuple[Shift, Shift] | None, ...]
    final: tuple[Tensor, Tensor] | None = None


class Modulation(Configurable, ABC):
    """A recipe for the way of the condition into the blocks."""

    active: bool = True
    """Whether the condition has an effect."""
    by_row: bool = False
    """Whether it looks at the columns of the slots, so that it is worked out anew for each pass."""

    def refuse(self, ordering: Ordering, layout: Layout) -> None:
        """See that it goes together with the slots that an ordering feeds on this layout.

        Raises:
            ValueError: it does not, for instance because it has no effect on them.
        """

    @abstractmethod
    def build(self, width: int, num_blocks: int, num_rows: int) -> ModulationModule:
        """A fresh module for a stack of blocks; a pass has at most ``num_rows`` condition slots and tokens."""


class ModulationModule(nn.Module, ABC):
    """A condition (B, 1, D) or (B, S, D) to what modulates every block, in float32 under autocast."""

    @abstractmethod
    def forward(self, condition_BSD: Tensor, rows: Slots | None = None) -> Modulated:
        """Work the condition out for all blocks."""

    def reset_parameters(self) -> None:
        """Called after the backbone's own initialisation."""

    def rescale(self, *, gates: float, others: float, final: float) -> None:
        """Multiply the weights that make gates, those of scales and shifts, and those in front of the head."""


class NoModulation(Modulation):
    """The condition comes by the prefix alone."""

    active = False

    def __init__(self) -> None:
        pass

    def build(self, width: int, num_blocks: int, num_rows: int) -> ModulationModule:
        return _None(num_blocks)


class AdaLN(Modulation):
    """Per block, six vectors from SiLU and a linear map of the condition; two more in front of the head.

    Scalable Diffusion Models with Transformers (DiT), arXiv 2212.09748.

    Args:
        zero_init: start with closed gates and no modulation.
        final: whether there is modulation in front of the head (xAR has none).
    """

    def __init__(self, *, zero_init: bool = True, final: bool = True) -> None:
        self.zero_init = zero_init
        self.final = final

    def build(self, width: int, num_blocks: int, num_rows: int) -> ModulationModule:
        return _PerBlock(width, num_blocks, self.zero_init, self.final)


class SharedAdaLN(Modulation):
    """One map of the condition for all blocks and a learned offset per block; saves 6 D² weights a block.

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905.

    Args:
        zero_init: start with closed gates and no modulation.
    """

    def __init__(self, *, zero_init: bool = True) -> None:
        self.zero_init = zero_init

    def build(self, width: int, num_blocks: int, num_rows: int) -> ModulationModule:
        return _Shared(width, num_blocks, self.zero_init)


class _None(ModulationModule):
    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.num_blocks = num_blocks

    def forward(self, condition_BSD: Tensor, rows: Slots | None = None) -> Modulated:
        return Modulated((None,) * self.num_blocks)


def _pair(six: Tensor) -> tuple[Shift, Shift]:
    gate1, gate2, scale1, scale2, shift1, shift2 = six.chunk(6, dim=-1)
    return Shift(scale1, shift1, gate1), Shift(scale2, shift2, gate2)


def _rescale_six(six: Tensor, gates: float, others: float) -> None:
    gate1, gate2, *rest = six.chunk(6, dim=-1)
    for part, factor in ((gate1, gates), (gate2, gates), *((part, others) for part in rest)):
        part.mul_(factor)


class _PerBlock(ModulationModule):
    def __init__(self, width: int, num_blocks: int, zero_init: bool, final: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(width, 6 * width) for _ in range(num_blocks))
        self.final = nn.Linear(width, 2 * width) if final else None
        self.zero_init = zero_init

    @in_float32
    def forward(self, condition_BSD: Tensor, rows: Slots | None = None) -> Modulated:
        active = F.silu(condition_BSD)
        blocks = tuple(_pair(block(active)) for block in self.blocks)
        if self.final is None:
            return Modulated(blocks)
        scale, shift = self.final(active).chunk(2, dim=-1)
        return Modulated(blocks, (scale, shift))

    def reset_parameters(self) -> None:
        """Close the gates."""
        for linear in filter(None, [*self.blocks, self.final] if self.zero_init else []):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    @torch.no_grad()
    def rescale(self, *, gates: float, others: float, final: float) -> None:
        for block in self.blocks:
            assert isinstance(block, nn.Linear)
            _rescale_six(block.weight.T, gates, others)
        if self.final is not None:
            self.final.weight.mul_(final)


class _Shared(ModulationModule):
    no_weight_decay = True

    def __init__(self, width: int, num_blocks: int, zero_init: bool) -> None:
        super().__init__()
        self.map = nn.Linear(width, 6 * width)
        self.offset_LD = nn.Parameter(torch.zeros(num_blocks, 6 * width))
        self.final = nn.Linear(width, 2 * width)
        self.zero_init = zero_init

    @in_float32
    def forward(self, condition_BSD: Tensor, rows: Slots | None = None) -> Modulated:
        active = F.silu(condition_BSD)
        scale, shift = self.final(active).chunk(2, dim=-1)
        shared = self.map(active)
        return Modulated(tuple(_pair(shared + offset) for offset in self.offset_LD), (scale, shift))

    def reset_parameters(self) -> None:
        """Close the gates."""
        for linear in (self.map, self.final) if self.zero_init else ():
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    @torch.no_grad()
    def rescale(self, *, gates: float, others: float, final: float) -> None:
        # The shared map keeps its size: what tells blocks apart is the offset (VAR).
        _rescale_six(self.offset_LD, gates, others)
        self.final.weight.mul_(final)
