"""The smallest discrete generator: pixels of three gray values are its tokens.

Letters: B batch, N tokens, V codebook size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arlab.backbones.attention import Attention
from arlab.backbones.backbone import Backbone
from arlab.backbones.feed_forward import GatedMLP
from arlab.backbones.places import LearnedPlaces
from arlab.backbones.rotary import AxialRotary, IdentityRotation
from arlab.backbones.transformer import Transformer
from arlab.data.facts import DataFacts
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.optimization import AdamW
from arlab.orderings.ordering import Ordering
from arlab.orderings.raster import Raster
from arlab.orderings.step import Layout
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace


class GrayLevels(Tokenizer):
    """Each pixel of a gray image is a token, one of V evenly spaced values.

    Args:
        grid: (H, W) of the image and of the tokens.
        codebook_size: V.
    """

    def __init__(self, *, grid: tuple[int, int] = (2, 3), codebook_size: int = 3) -> None:
        super().__init__()
        self.layout = Layout((tuple(grid),))
        self.space = TokenSpace(1, codebook_size)
        self.facts = DataFacts("tiny", 1, tuple(grid), ("a", "b"))
        # A weight and a buffer, so that freezing and saving have something to lose.
        self.values_V1 = nn.Parameter(torch.linspace(-1, 1, codebook_size)[:, None])
        self.register_buffer("used_V", torch.zeros(codebook_size))

    def encode(self, image_BCHW: Tensor) -> Tensor:
        return (image_BCHW.flatten(1)[..., None] - self.values_V1[:, 0]).abs().argmin(-1)

    def decode(self, tokens: Tensor) -> Tensor:
        return self.vectors(tokens)[..., 0].unflatten(1, self.layout.shapes[0])[:, None]

    def vectors(self, tokens: Tensor) -> Tensor:
        return self.values_V1[tokens]


def tiny_backbone(*, width: int = 16, num_layers: int = 2, init_std: float = 0.3) -> Backbone:
    return Transformer(
        width=width,
        num_layers=num_layers,
        attention=Attention(num_heads=2),
        feed_forward=GatedMLP(multiple_of=8),
        rotary=AxialRotary(nowhere=IdentityRotation()),
        places=[LearnedPlaces()],
        init_std=init_std,
    )


def tiny_generator(
    ordering: Ordering | None = None,
    *,
    grid: tuple[int, int] = (2, 3),
    codebook_size: int = 3,
    num_slots: int = 1,
    drop_probability: float = 0.1,
    ema_decay: float = 0.0,
    seed: int = 0,
) -> Generator:
    """In evaluation mode, with weights far enough from zero that every part matters."""
    torch.manual_seed(seed)
    return Generator(
        tokenizer=GrayLevels(grid=grid, codebook_size=codebook_size),
        ordering=Raster() if ordering is None else ordering,
        backbone=tiny_backbone(),
        head=DiscreteHead(zero_init=False, init_std=0.5),
        conditioner=ClassLabel(num_slots=num_slots, drop_probability=drop_probability, init_std=0.5),
        optimizer=AdamW(learning_rate=1e-2, warmup_steps=0),
        ema_decay=ema_decay,
    ).eval()
