"""The smallest generator around an ordering or a head: toy tokens, random weights, every kind of slot.

Letters: B batch, N tokens, n tokens of a level, M tokens predicted, C token vector width, V codebook size, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.backbones.attention import Attention
from arlab.backbones.modulation import AdaLN
from arlab.backbones.places import LearnedPlaces
from arlab.backbones.resized_places import ResizedPlaces
from arlab.backbones.rotary import AxialRotary, IdentityRotation
from arlab.backbones.target_places import TargetPlaces
from arlab.backbones.transformer import Transformer
from arlab.data.facts import DataFacts
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.head import Head, Predict, Predicted, Sampling
from arlab.orderings.ordering import Drawn, Ordering
from arlab.orderings.step import Kind, Layout, Step
from arlab.rng import Noise, Rng
from arlab.times import TimeEmbedding
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace


class ToyTokenizer(Tokenizer):
    """Tokens on any layout; the canvas of a level is the sum of the levels below, resized.

    Args:
        layout: where the tokens lie.
        width: C.
        codebook_size: V; None for continuous tokens.
    """

    code_VC: Tensor

    def __init__(self, layout: Layout, width: int = 3, codebook_size: int | None = None) -> None:
        super().__init__()
        self.layout = layout
        self.space = TokenSpace(width, codebook_size)
        self.facts = DataFacts("toy", 1, (4, 4), ("a", "b", "c"))
        angle_VC = torch.outer(torch.arange(codebook_size or 0) + 1.0, torch.arange(width) + 1.0)
        self.register_buffer("code_VC", angle_VC.sin(), persistent=False)

    def at(self, layout: Layout) -> Tokenizer:
        return ToyTokenizer(layout, self.space.width, self.space.codebook_size)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        value_BN = image_BCHW.flatten(1)[:, :1].expand(-1, self.layout.num_tokens)
        return (value_BN > 0).long() if self.space.discrete else value_BN[..., None].expand(-1, -1, self.space.width)

    def decode(self, tokens: Tensor) -> Tensor:
        return self.vectors(tokens).mean((1, 2)).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)

    def vectors(self, tokens: Tensor) -> Tensor:
        vectors_BNC: Tensor = self.code_VC[tokens] if self.space.discrete else tokens
        return vectors_BNC

    def canvas(self, tokens: Tensor, level: int) -> Tensor:
        vectors_BNC = self.vectors(tokens)
        canvas = vectors_BNC.new_zeros(len(tokens), self.space.width, *self.layout.finest)
        for below in range(level):
            part_BnC = vectors_BNC[:, self.layout.tokens(below)]
            part = part_BnC.transpose(1, 2).unflatten(-1, self.layout.shapes[below])
            canvas = canvas + F.interpolate(part, self.layout.finest, mode="nearest")
        return canvas


class ToyHead(Head):
    """A linear map from hidden vectors to token vectors; with ``noised`` it is shown noised tokens and their times.

    Args:
        noised: whether the ordering feeds noised slots.
    """

    def __init__(self, *, noised: bool = False) -> None:
        super().__init__()
        self.noised = noised
        self.tells_probability = not noised

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        self.space = space
        self.input = nn.Linear(space.width, width)
        self.time = TimeEmbedding(width) if self.noised else None
        self.outputs = nn.ModuleList(nn.Linear(width, space.width) for _ in range(ways))

    def embed(self, tokens: Tensor) -> Tensor:
        h_BSD: Tensor = self.input(tokens)
        return h_BSD

    def embed_time(self, time_BS: Tensor) -> Tensor:
        assert self.time is not None
        h_BSD: Tensor = self.time(time_BS)
        return h_BSD

    def values(self, predicted: Predicted) -> Tensor:
        """(B, M, C)."""
        return predicted.conditional.mix(list(self.outputs))

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        noise = (rng.normal(*target.shape[1:]), rng.uniform(target.shape[1])) if self.noised else ()
        return (self.values(predict(*noise)) - target).square().mean(-1)

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        normal = noise.normal(step.read.token, self.space.width)
        if not self.noised:
            # Up to a constant.
            return Drawn(self.values(predict()) + normal, -0.5 * normal.square().sum(-1))
        time_BM = torch.full(normal.shape[:2], 1.0)
        halfway = normal - 0.5 * self.values(predict(normal, time_BM))
        return Drawn(halfway - 0.5 * self.values(predict(halfway, 0.5 * time_BM)))


def toy_generator(
    ordering: Ordering,
    layout: Layout,
    *,
    num_slots: int = 1,
    seed: int = 0,
    head: Head | None = None,
    space: TokenSpace | None = None,
) -> Generator:
    """A two-layer generator with random weights, in evaluation mode.

    Args:
        ordering: of its tokens.
        layout: where they lie.
        num_slots: P, condition slots.
        seed: of the weights.
        head: not bound yet; a toy's where not given.
        space: what tokens are; vectors of three numbers where not given.
    """
    rng_state = torch.get_rng_state()
    # Thousands of these are made: torch.manual_seed would write down the call stack for each device, too.
    torch.default_generator.manual_seed(seed)
    given = TokenSpace(3) if space is None else space
    generator = Generator(
        tokenizer=ToyTokenizer(layout, given.width, given.codebook_size),
        ordering=ordering,
        backbone=Transformer(
            width=24,
            num_layers=2,
            attention=Attention(num_heads=2),
            places=[
                ResizedPlaces(size=4) if ordering.draws_layouts else LearnedPlaces(),
                *([TargetPlaces()] if ordering.tells_targets else []),
            ],
            rotary=AxialRotary(nowhere=IdentityRotation()),
            modulation=AdaLN(zero_init=False),
            init_std=0.3,
        ),
        head=ToyHead(noised=Kind.NOISY in ordering.carries) if head is None else head,
        conditioner=ClassLabel(num_slots=num_slots, init_std=0.5),
        ema_decay=0.0,
    )
    torch.set_rng_state(rng_state)
    return generator.eval()
