"""MyPyramid: how a latent map is split into levels, and put back.

    pytest plugins/test_my_pyramid.py
    arlab fit --config TOKENIZER.yaml --model.quantizer.pyramid MyPyramid

TOKENIZER.yaml is one whose quantizer is a PyramidQuantizer, as arlab new experiment NAME --ordering NextScale writes
it; NextScale then predicts its tokens level by level.
Add --plugins plugins/my_pyramid.py where the file is not in the folder plugins/ of the working directory.
"""

from __future__ import annotations

from torch import Tensor

from arlab.orderings.step import Layout
from arlab.pyramids.interpolation import Nearest, area
from arlab.pyramids.pyramid import Pyramid
from arlab.ranges import require


class MyPyramid(Pyramid):
    """Means over ever smaller cells, from one cell to the latent's own grid.

    Args:
        factor: how many times finer each level is along each axis.
    """

    # Each level holds what the levels before it left over; False: each holds the whole latent.
    residual = True

    # The constructor is the configuration: {class_path: MyPyramid, init_args: {factor: 3}}.
    def __init__(self, *, factor: int = 2) -> None:
        require("pyramid.factor", factor, at_least=2)
        self.factor = factor

    def layout(self, shape: tuple[int, ...]) -> Layout:
        # Coarse to fine; the last level is the latent's own grid. -(-n // d) rounds up.
        grids = [shape]
        while max(grids[0]) > 1:
            grids.insert(0, tuple(-(-side // self.factor) for side in grids[0]))
        return Layout(tuple(grids))

    def down(self, rest: Tensor, level: int) -> Tensor:
        # A map (B, C, *latent's grid) on the level's grid; on the last it must come out as it is.
        return area(rest, self.layout(tuple(rest.shape[2:])).shapes[level])

    def up(self, values: Tensor, level: int, shape: tuple[int, ...]) -> Tensor:
        # And back on the latent's grid; a constant stays constant.
        return Nearest()(values, shape)
