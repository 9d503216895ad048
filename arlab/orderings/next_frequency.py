"""Next-frequency prediction: an image from its mean to its finest detail, one band a step."""

from __future__ import annotations

from arlab.orderings.level_inputs import Accumulated, LevelInput
from arlab.orderings.levels import Levels, refuse_two_pyramids
from arlab.orderings.step import Layout
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.pyramid import Pyramid


class NextFrequency(Levels):
    """Predict all tokens of the next frequency band at once: p(x) = Π_b p(x_b | x_<b, class), as many steps as bands.

    A slot stands on the place of the token it predicts and carries the canvas of all lower bands there. Written after
    secondary descriptions of the paper, whose code is not public; that the canvas is averaged over the cells of the
    next band's grid is VAR's way.

    Continuous tokens that a tokenizer has on one level are split into bands here, by ``pyramid`` (ours).

    NFIG: Autoregressive Image Generation with Next-Frequency Prediction, arXiv 2503.07076.

    Args:
        level_input: what a slot carries.
        markov: whether a band attends to itself only; the class must modulate the backbone then.
        pyramid: along what continuous tokens of one level are split; ``FrequencyPyramid()`` where not given. A
            tokenizer of several levels has its own.
    """

    follows = FrequencyPyramid

    def __init__(
        self,
        *,
        level_input: LevelInput | None = None,
        markov: bool = False,
        pyramid: FrequencyPyramid | None = None,
    ) -> None:
        super().__init__(level_input=Accumulated() if level_input is None else level_input, markov=markov)
        self.pyramid = pyramid

    def latent_pyramid(self, layout: Layout) -> Pyramid:
        return FrequencyPyramid() if self.pyramid is None else self.pyramid

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        super().refuse(layout, pyramid)
        refuse_two_pyramids(self.pyramid, pyramid)
