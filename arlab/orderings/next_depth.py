"""Next-depth prediction: the whole map at once, again and again, each time what is left over."""

from __future__ import annotations

from arlab.orderings.level_inputs import Accumulated, LevelInput
from arlab.orderings.levels import Levels
from arlab.orderings.step import Layout
from arlab.pyramids.depth import DepthPyramid
from arlab.pyramids.pyramid import Pyramid


class NextDepth(Levels):
    """Predict the tokens of the next depth of a residual quantizer everywhere at once, as many steps as depths.

    A slot stands on the place of the token it predicts and carries the sum of the depths so far there. The first depth
    is drawn without knowing anything, each place for itself, so few depths make poor images; RQ-VAE's own generator
    goes through the places instead, depth by depth in each.

    Autoregressive Image Generation using Residual Quantization (RQ-VAE), arXiv 2203.01941.

    Args:
        level_input: what a slot carries.
        markov: whether a depth attends to itself only; the class must modulate the backbone then.
    """

    follows = DepthPyramid

    def __init__(self, *, level_input: LevelInput | None = None, markov: bool = False) -> None:
        super().__init__(level_input=Accumulated() if level_input is None else level_input, markov=markov)

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        if pyramid is None and len(layout.shapes) == 1:
            raise ValueError(
                "ordering: NextDepth goes from depth to depth of a residual quantizer, this tokenizer has one level; "
                "choose one with quantizer: PyramidQuantizer, pyramid: DepthPyramid; continuous tokens of one level "
                "(a KLTokenizer's) leave nothing over, for them choose NextScale or NextFrequency"
            )
        super().refuse(layout, pyramid)
