"""How the weights of a whole generator start, where a recipe says more than its parts do of themselves.

Letters: D width, L blocks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import nn

from arlab.backbones.attention import AttentionModule
from arlab.backbones.transformer import Transformer
from arlab.configurable import Configurable
from arlab.heads.discrete import DiscreteHead
from arlab.ranges import require

if TYPE_CHECKING:
    from arlab.generators.generator import Generator


class Initialisation(Configurable, ABC):
    """Initial weights in place of those that the parts draw of themselves (init_std, zero_init)."""

    @abstractmethod
    def apply(self, generator: Generator) -> None:
        """Overwrite weights, drawing on torch's own random numbers.

        Raises:
            ValueError: the generator has parts that it does not know.
        """


class VARInitialisation(Initialisation):
    """VAR's: normal weights of std √(1 / (3 D)), biases zero, then factors where a block or the head begins quietly.

    Linear maps, embeddings, places and learned slots have that std. Multiplied are: the head's outputs by ``head``;
    of what modulates a block, rows of gates by ``gates`` and rows of scales and shifts by ``modulation``; what
    modulates in front of the head by ``modulation``; the last map of attention and of feed-forward by 1 / √(2 L).
    Offsets of shared modulation start with std 1 / √D before their factors. Norms, the scale of queries and the waves
    of ``ResizedPlaces`` stay as they are, and so do heads other than ``DiscreteHead``.

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905.

    Args:
        gates: VAR's depths 16 and 20 have 1e-3, 24 has 1e-4, 30 has 1e-5, 36 has 5e-6.
        modulation: of scales and shifts.
        head: of the weights that make logits.
        init_std: in place of √(1 / (3 D)); null for that.
    """

    def __init__(
        self, *, gates: float = 1e-3, modulation: float = 0.5, head: float = 0.02, init_std: float | None = None
    ) -> None:
        require("initialisation.gates", gates, at_least=0)
        require("initialisation.modulation", modulation, at_least=0)
        require("initialisation.head", head, at_least=0)
        if init_std is not None:
            require("initialisation.init_std", init_std, at_least=0)
        self.gates = gates
        self.modulation = modulation
        self.head = head
        self.init_std = init_std

    @torch.no_grad()
    def apply(self, generator: Generator) -> None:
        backbone, head = generator.backbone, generator.head
        if not isinstance(backbone, Transformer):
            raise ValueError(
                f"initialisation: VARInitialisation knows the parts of a Transformer, got {type(backbone).__name__}"
            )
        std = math.sqrt(1 / (3 * backbone.width)) if self.init_std is None else self.init_std
        parts: list[nn.Module] = [generator.conditioner, generator.slot_embedding, backbone]
        if isinstance(head, DiscreteHead):
            parts.append(head)
        for part in parts:
            for module in part.modules():
                _draw(module, std, backbone.width)
        if isinstance(head, DiscreteHead):
            for output in head.outputs:
                assert isinstance(output, nn.Linear)
                output.weight.mul_(self.head)
        backbone.conditioning.rescale(gates=self.gates, others=self.modulation, final=self.modulation)
        for block in backbone.blocks:
            for last in _last_maps(block):
                last.weight.div_(math.sqrt(2 * len(backbone.blocks)))


def _draw(module: nn.Module, std: float, width: int) -> None:
    """Draw what a module holds itself."""
    # VAR's truncation is at ±2, not ±2 std: it never cuts anything.
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    for name in ("table", "condition_PD", "learned_RD", "offset_LD"):
        parameter = getattr(module, name, None)
        if isinstance(parameter, nn.Parameter):
            nn.init.normal_(parameter, std=1 / math.sqrt(width) if name == "offset_LD" else std)


def _last_maps(block: nn.Module) -> list[nn.Linear]:
    """Where a block's two branches end."""
    attention, feed_forward = block.attention, block.feed_forward
    assert isinstance(attention, AttentionModule)
    assert isinstance(feed_forward, nn.Module)
    return [attention.out, [each for each in feed_forward.modules() if isinstance(each, nn.Linear)][-1]]
