"""Random generators with LlamaGen's backbone: those that LlamaGen, NAR, PAR and RandAR may be released as."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import GatedMLP
from arlab.backbones.norms import RMSNorm
from arlab.backbones.places import Places
from arlab.backbones.rotary import AxialRotary
from arlab.backbones.transformer import Transformer
from arlab.generators.conditioners import Conditioner
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.ordering import Ordering
from tests.checkpoints.given_tokens import GivenTokens


@dataclass(frozen=True)
class Sizes:
    """What no ordering has a say in.

    Attributes:
        num_heads: of attention.
        head_width: of each.
        hidden: width inside of feed-forward layers.
        num_layers: up to the first way out.
        way_layers: for each further way.
        rope_base: of the rotary positions.
        norm_eps: added to mean squares.
        codebook_size: how many codes.
        num_classes: how many classes.
    """

    num_heads: int
    head_width: int
    hidden: int
    num_layers: int
    way_layers: int
    rope_base: float
    norm_eps: float
    codebook_size: int
    num_classes: int

    @classmethod
    def drawn(cls, rng: random.Random, way_layers: int = 1) -> Sizes:
        """All but ``way_layers`` at random."""
        return cls(
            num_heads=rng.choice([1, 2, 3]),
            head_width=rng.choice([4, 8, 12]),
            hidden=rng.randint(5, 90),
            num_layers=rng.randint(1, 3),
            way_layers=way_layers,
            rope_base=rng.choice([100.0, 10000.0]),
            norm_eps=rng.choice([1e-5, 1e-6]),
            codebook_size=rng.randint(3, 40),
            num_classes=rng.randint(1, 9),
        )

    def generator(
        self,
        ordering: Ordering,
        grid: Sequence[int],
        *,
        places: list[Places] | None = None,
        conditioner: Conditioner | None = None,
    ) -> Generator:
        """A generator of these sizes."""
        width = self.num_heads * self.head_width
        return Generator(
            tokenizer=GivenTokens(
                grid=(grid[0], grid[1]), codebook_size=self.codebook_size, num_classes=self.num_classes
            ),
            ordering=ordering,
            backbone=Transformer(
                width=width,
                num_layers=self.num_layers,
                attention=Attention(num_heads=self.num_heads),
                feed_forward=GatedMLP(ratio=self.hidden / width, multiple_of=1),
                norm=RMSNorm(eps=self.norm_eps),
                rotary=AxialRotary(base=self.rope_base),
                places=places,
                dropout=0.1,
                way_layers=self.way_layers,
            ),
            head=DiscreteHead(),
            conditioner=conditioner,
            ema_decay=0,
        )
