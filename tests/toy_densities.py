"""Densities known in closed form, of points on a line and in a plane, learned by ordinary generators of one token.

Letters: B batch, n points, C width of a point (1 or 2), V codes, L classes (always 2).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.transformer import Transformer
from arlab.data.facts import DataFacts
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.head import Head
from arlab.orderings.raster import Raster
from arlab.orderings.step import Layout
from arlab.rng import BatchRng
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace

REACH = 3.0
"""Points are told apart from -REACH to REACH."""


class Toy(ABC):
    """A density for each of two classes, and how far drawn points are from it."""

    width: int
    cells: int
    """Codes along each axis where points are told as codes."""
    measure: str

    @abstractmethod
    def points(self, label: int, number: int, random: torch.Generator) -> Tensor:
        """True points (n, C)."""

    @abstractmethod
    def distance(self, label: int, points: Tensor) -> float:
        """How far points are from the density; 0 is none, but for the noise of drawing."""


class Line(Toy):
    """Two Gaussians, and a box beside a spike: total variation between cells of a histogram."""

    width = 1
    cells = 64
    measure = "total variation"

    def points(self, label: int, number: int, random: torch.Generator) -> Tensor:
        first = torch.rand(number, generator=random) < (0.3, 0.6)[label]
        normal = torch.randn(number, generator=random)
        if label == 0:
            return torch.where(first, -1.5 + 0.25 * normal, 0.6 + 0.5 * normal)[:, None]
        box = -1.5 * torch.rand(number, generator=random)
        return torch.where(first, box, 1 + 0.1 * normal)[:, None]

    def cumulative(self, label: int, x: Tensor) -> Tensor:
        """P(point <= x)."""

        def normal(mean: float, std: float) -> Tensor:
            return 0.5 * (1 + torch.erf((x - mean) / (std * math.sqrt(2))))

        if label == 0:
            return 0.3 * normal(-1.5, 0.25) + 0.7 * normal(0.6, 0.5)
        return 0.6 * ((x + 1.5) / 1.5).clamp(0, 1) + 0.4 * normal(1, 0.1)

    def probability(self, label: int) -> Tensor:
        """Of each cell, (V,); the outer ones reach to infinity."""
        inner = self.cumulative(label, torch.linspace(-REACH, REACH, self.cells + 1)[1:-1])
        return torch.cat((torch.zeros(1), inner, torch.ones(1))).diff()

    def distance(self, label: int, points: Tensor) -> float:
        drawn = Codes(self.cells, self.width).of(points).bincount(minlength=self.cells) / len(points)
        return 0.5 * float((drawn - self.probability(label)).abs().sum())


class Plane(Toy):
    """Two moons, and eight Gaussians on a ring: energy distance to fresh true points, times 1000."""

    width = 2
    cells = 32
    measure = "energy distance x 1000"

    def points(self, label: int, number: int, random: torch.Generator) -> Tensor:
        which, normal = torch.rand(number, generator=random), torch.randn(number, 2, generator=random)
        if label == 1:
            angle = (8 * which).floor() * math.pi / 4
            return 1.6 * torch.stack((angle.cos(), angle.sin()), -1) + 0.1 * normal
        angle, upper = math.pi * torch.rand(number, generator=random), which < 0.5
        x = torch.where(upper, angle.cos(), 1 - angle.cos())
        y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
        return 1.2 * (torch.stack((x, y), -1) - torch.tensor([0.5, 0.25])) + 0.1 * normal

    def distance(self, label: int, points: Tensor) -> float:
        """2 E|x - y| - E|x - x'| - E|y - y'|: biased upwards by the noise of drawing, so never below zero."""
        true, drawn = self.points(label, len(points), torch.Generator().manual_seed(10**6)).double(), points.double()
        apart, of_true, of_drawn = (torch.cdist(*pair).mean() for pair in ((true, drawn), (true, true), (drawn, drawn)))
        return 1000 * float(2 * apart - of_true - of_drawn)


@dataclass(frozen=True)
class Codes:
    """Equal cells of a line or a plane, numbered row by row."""

    cells: int
    width: int

    def of(self, points: Tensor) -> Tensor:
        """The code of each point, (n, C) to (n,)."""
        cell = ((points + REACH) / (2 * REACH) * self.cells).long().clamp(0, self.cells - 1)
        return cell[:, 0] if self.width == 1 else cell[:, 0] * self.cells + cell[:, 1]

    def points(self, codes: Tensor, random: torch.Generator) -> Tensor:
        """A point drawn from the cell of each code."""
        cell = codes[:, None] if self.width == 1 else torch.stack((codes // self.cells, codes % self.cells), -1)
        return (cell + torch.rand(cell.shape, generator=random)) / self.cells * 2 * REACH - REACH


class PointTokenizer(Tokenizer):
    """A point is a token; here it is made of points, never of images."""

    def __init__(self, width: int, codebook_size: int | None) -> None:
        super().__init__()
        self.layout = Layout(((1, 1),))
        self.space = TokenSpace(width, codebook_size)
        self.facts = DataFacts("points", 1, (1, 1), ("first", "second"))

    def encode(self, image_BCHW: Tensor) -> Tensor:
        raise NotImplementedError

    def decode(self, tokens: Tensor) -> Tensor:
        return torch.zeros(len(tokens), 1, 1, 1)

    def vectors(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Learner:
    """A head, how it is made, and whether points are told to it as codes."""

    make: Callable[[], Head]
    discrete: bool = False

    def generator(self, toy: Toy, make: Callable[[], Head] | None = None) -> Generator:
        """An untrained generator of one token; with another head of the same weights where one is given."""
        return Generator(
            tokenizer=PointTokenizer(toy.width, toy.cells**toy.width if self.discrete else None),
            ordering=Raster(),
            backbone=Transformer(width=32, num_layers=1, attention=Attention(num_heads=2)),
            head=(make or self.make)(),
            conditioner=ClassLabel(drop_probability=0.0),
            ema_decay=0.0,
        )

    def train(self, toy: Toy, *, seed: int, steps: int, batch: int = 512, learning_rate: float = 3e-3) -> Generator:
        """Trained on fresh points, with Adam and a rate that falls to zero."""
        torch.manual_seed(seed)
        generator, random = self.generator(toy).train(), torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(generator.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        label = torch.arange(2).repeat_interleave(batch // 2)
        for number in range(steps):
            points = torch.cat([toy.points(each, batch // 2, random) for each in (0, 1)])
            tokens = Codes(toy.cells, toy.width).of(points)[:, None] if self.discrete else points[:, None]
            loss = generator.objective.loss(generator, tokens, label, BatchRng(seed + number, batch), generator.layout)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return generator.eval()

    def draw(self, generator: Generator, toy: Toy, label: int, number: int, *, seed: int = 0) -> Tensor:
        """Points (n, C) of one class."""
        seeds = range(seed + label * number, seed + (label + 1) * number)
        tokens = Sampler().sample(generator, torch.full((number,), label), seeds=seeds).tokens[:, 0]
        random = torch.Generator().manual_seed(seed)
        return Codes(toy.cells, toy.width).points(tokens, random) if self.discrete else tokens
