"""Next-frequency prediction: an image from its mean to its finest detail, one band a step."""

from __future__ import annotations

from arlab.orderings.level_inputs import Accumulated, LevelInput
from arlab.orderings.levels import Levels
from arlab.pyramids.frequency import FrequencyPyramid


class NextFrequency(Levels):
    """Predict all tokens of the next frequency band at once: p(x) = Π_b p(x_b | x_<b, class), as many steps as bands.

    A slot stands on the place of the token it predicts and carries the canvas of all lower bands there. Written after
    secondary descriptions of the paper, whose code is not public; that the canvas is averaged over the cells of the
    next band's grid is VAR's way.

    NFIG: Autoregressive Image Generation with Next-Frequency Prediction, arXiv 2503.07076.

    Args:
        level_input: what a slot carries.
        markov: whether a band attends to itself only; the class must modulate the backbone then.
    """

    follows = FrequencyPyramid

    def __init__(self, *, level_input: LevelInput | None = None, markov: bool = False) -> None:
        super().__init__(level_input=Accumulated() if level_input is None else level_input, markov=markov)
