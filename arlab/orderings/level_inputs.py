"""What the slots of a level carry: a function of the levels before it.

Letters: B batch, C width of a token vector, n tokens of a level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from arlab.configurable import Configurable
from arlab.orderings.ordering import Maps
from arlab.orderings.step import Layout
from arlab.pyramids.interpolation import Bicubic, Interpolation, area


class LevelInput(Configurable, ABC):
    """Makes the input of a level out of the levels before it."""

    @abstractmethod
    def __call__(self, tokens: Tensor, levels: Sequence[int], layout: Layout, maps: Maps) -> list[Tensor]:
        """One map (B, C, *grid) for each of these levels, none of them the first.

        Args:
            tokens: (B, N) or (B, N, C); those of the levels asked for and of later ones may hold anything.
            levels: which, in increasing order.
            layout: where the tokens lie.
            maps: the tokenizer's.
        """


class Accumulated(LevelInput):
    """All levels so far put back on one map by the tokenizer, averaged over the cells of the level's grid.

    input_l = area(canvas(levels < l), grid_l)

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905.
    """

    def __init__(self) -> None:
        pass

    def __call__(self, tokens: Tensor, levels: Sequence[int], layout: Layout, maps: Maps) -> list[Tensor]:
        canvases = maps.canvases(tokens, levels)
        return [area(canvas, layout.shapes[level]) for level, canvas in zip(levels, canvases, strict=True)]


class Previous(LevelInput):
    """The level before alone, interpolated to the level's grid; older levels are seen through attention.

    input_l = interpolate(vectors_{l-1}, grid_l)

    FlexVAR: Flexible Visual Autoregressive Modeling without Residual Prediction, arXiv 2502.20313.

    Args:
        interpolation: from one level's grid to the next.
    """

    def __init__(self, *, interpolation: Interpolation | None = None) -> None:
        self.interpolation = Bicubic() if interpolation is None else interpolation

    def __call__(self, tokens: Tensor, levels: Sequence[int], layout: Layout, maps: Maps) -> list[Tensor]:
        vectors_BNC = maps.vectors(tokens)
        before = [
            vectors_BNC[:, layout.tokens(level - 1)].transpose(1, 2).unflatten(-1, layout.shapes[level - 1])
            for level in levels
        ]
        return [self.interpolation(values, layout.shapes[level]) for level, values in zip(levels, before, strict=True)]
