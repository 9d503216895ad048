"""Raster order: row by row, as pixels leave a cathode ray."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arlab.orderings.traversal import Traversal


class Raster(Traversal):
    """Predict the next token in row-major order: p(x) = Π_i p(x_i | x_<i, class).

    A slot carries the previous token and stands on its place; the condition comes first. One token a step, H·W steps.

    Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation (LlamaGen), arXiv 2406.06525.
    """

    def __init__(self) -> None:
        super().__init__()

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        return list(torch.arange(math.prod(grid)).split(1))
