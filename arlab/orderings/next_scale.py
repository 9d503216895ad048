"""Next-scale prediction: an image from coarse to fine, one scale a step."""

from __future__ import annotations

import copy

from arlab.orderings.level_inputs import Accumulated, LevelInput
from arlab.orderings.levels import Levels, refuse_two_pyramids
from arlab.orderings.scale_schedules import ScaleSchedule
from arlab.orderings.step import Layout
from arlab.pyramids.grids import check_sides, layout_of
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.rng import Rng

_KEY = "ordering.patch_nums"


class NextScale(Levels):
    """Predict all tokens of the next scale at once: p(x) = Π_s p(x_s | x_<s, class), as many steps as scales.

    A slot stands on the place of the token it predicts and carries the map of the coarser scales there.

        NextScale()                                                            # VAR, on a residual ScalePyramid
        NextScale(level_input=Previous(), schedule=RandomScales())             # FlexVAR, on one that is not residual
        NextScale(markov=True)                                                 # HMAR's attention within the scale
        NextScale(patch_nums=[1, 2, 4, 8, 16])                                 # FlowAR, on a KLTokenizer

    On a pyramid that is not residual a scale does not depend on those before it, so others than the tokenizer's may be
    predicted: by ``patch_nums``, drawn anew in every step by ``schedule``, or chosen when sampling.

    Continuous tokens that a tokenizer has on one level are split into scales here, by ``pyramid``; each scale is the
    whole latent unless that says otherwise, and a slot carries the scale before it brought to its own grid (FlowAR).

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905
    FlexVAR: Flexible Visual Autoregressive Modeling without Residual Prediction, arXiv 2502.20313
    HMAR: Efficient Hierarchical Masked Auto-Regressive Image Generation, arXiv 2506.04421
    FlowAR: Scale-wise Autoregressive Image Generation Meets Flow Matching, arXiv 2412.15205

    Args:
        patch_nums: the scales, as a ScalePyramid's; the tokenizer's or ``pyramid``'s where not given. A residual
            tokenizer has its own, and others are refused.
        level_input: what a slot carries: all coarser scales (VAR) or the one before (FlexVAR).
        markov: whether a scale attends to itself only (HMAR); the coarser ones are in its input. Nothing is cached
            then, and the class must modulate the backbone.
        schedule: scales drawn anew in every training step.
        pyramid: along what continuous tokens of one level are split; ``ScalePyramid(residual=False)`` where not given.
            Its scales are ``patch_nums``, if these are given. A tokenizer of several levels has its own.
    """

    follows = ScalePyramid

    def __init__(
        self,
        *,
        patch_nums: list[int | list[int]] | None = None,
        level_input: LevelInput | None = None,
        markov: bool = False,
        schedule: ScaleSchedule | None = None,
        pyramid: ScalePyramid | None = None,
    ) -> None:
        check_sides(patch_nums, _KEY)
        super().__init__(level_input=Accumulated() if level_input is None else level_input, markov=markov)
        self.patch_nums = patch_nums
        self.schedule = schedule
        self.draws_layouts = schedule is not None
        self.pyramid = pyramid
        self._split = ScalePyramid(patch_nums=patch_nums, residual=False) if pyramid is None else pyramid
        if patch_nums is not None and self._split.patch_nums is None:
            # A pyramid without scales of its own is one of these.
            self._split = copy.copy(self._split)
            self._split.patch_nums = patch_nums

    def latent_pyramid(self, layout: Layout) -> Pyramid:
        return self._split

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        super().refuse(layout, pyramid)
        if self.pyramid is not None and pyramid is not self._split:
            refuse_two_pyramids(self.pyramid, pyramid)
        if pyramid is self._split and self.patch_nums is not None and self.choose_layout(layout) != layout:
            raise ValueError(
                f"{_KEY}: {self.patch_nums} are other scales than {self._split.patch_nums} of ordering.pyramid; give "
                "one of them only"
            )
        if self.schedule is not None and pyramid is not None and pyramid.residual:
            raise ValueError(
                "ordering.schedule: draws other scales, but those of a residual pyramid are what it was trained on; "
                "choose a tokenizer of ScalePyramid with residual: false, or leave it out"
            )

    def choose_layout(self, layout: Layout) -> Layout:
        return layout if self.patch_nums is None else layout_of(self.patch_nums, layout.finest, _KEY)

    def draw_layout(self, layout: Layout, rng: Rng) -> Layout:
        return layout if self.schedule is None else self.schedule.draw(layout, rng)
