"""One codebook, or one per level, along a pyramid: multi-scale, next-frequency and residual quantisation.

Letters: B batch, C vector width, S the latent's sides, N tokens, L levels, T vectors.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.orderings.step import Layout
from arlab.precision import in_float32, upcast
from arlab.pyramids.interpolation import area
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.ranges import require
from arlab.tokenizers.quantizers.passage import StraightThrough
from arlab.tokenizers.quantizers.phi import PhiConvolutions
from arlab.tokenizers.quantizers.quantizer import Codebook, Coded, Quantized, Quantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer

# What a codebook does by itself and a pyramid does for it, and what to do instead.
_NOT_ON_LEVELS = {
    "commitment_weight": "set quantizer.commitment_weight, that of all levels",
    "codebook_weight": "leave it out and weigh quantizer.commitment_weight against it, which is 1 here",
    "passage": "leave it out: gradients pass straight through the whole pyramid",
}


class PyramidQuantizer(Quantizer):
    """Splits a latent along a pyramid, quantises each level, and puts the levels back together.

        q_l = quantise(level_l);  f̂_l = Σ_{m <= l} φ(up(q_m));  vectors = f̂_L, the decoder's gradient straight to f
        loss = mean_l [commitment_weight · mean (f - sg(f̂_l))² + mean (f̂_l - sg(f))²] + mean_l regularizer_l,
        the second term only where codes or φ are learned by gradient

    Codes and φ learn from f̂; the levels are read off what the detached f̂ leaves over. Of a codebook's own losses only
    the regularizer is used, so its other weights are refused here, and so is its way of passing gradients.

    Where the pyramid is not residual, each level is compared with the latent on that level's grid instead, and the
    decoder gets the last level alone. With ``random_level`` it gets, in that share of the training batches, any one of
    the levels, on that level's grid, and its smaller image is compared with the averaged one: so every level decodes to
    an image of its size, as FlexVAR's do. (FlexVAR decodes several levels a batch. Random numbers come from torch's own
    generator.)

        PyramidQuantizer(pyramid=ScalePyramid(), quantizer=VectorQuantizer(), refinement=PhiConvolutions())    # VAR
        PyramidQuantizer(pyramid=DepthPyramid(depth=4))                                                        # RQ-VAE
        PyramidQuantizer(pyramid=ScalePyramid(residual=False), random_level=0.5)                               # FlexVAR

    Figures: residual_level_l, the share of the energy |f|² that is not expressed after level l, and the codebook's.

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905
    Autoregressive Image Generation using Residual Quantization (RQ-VAE), arXiv 2203.01941
    FlexVAR: Flexible Visual Autoregressive Modeling without Residual Prediction, arXiv 2502.20313

    Args:
        pyramid: the levels; scales by default.
        quantizer: the codebook.
        refinement: what is done to each level's share of the map; none: nothing.
        share_codebook: whether all levels use one codebook, or each its own.
        commitment_weight: how strongly latents are drawn to what the levels make of them.
        random_level: the share of training batches that are decoded from a level drawn at random instead of the last.

    Raises:
        ValueError: the quantizer is no codebook, or an option would have no effect.
    """

    pyramid: Pyramid

    def __init__(
        self,
        *,
        pyramid: Pyramid | None = None,
        quantizer: Codebook | None = None,
        refinement: PhiConvolutions | None = None,
        share_codebook: bool = True,
        commitment_weight: float = 0.25,
        random_level: float = 0.0,
    ) -> None:
        super().__init__()
        codebook = VectorQuantizer() if quantizer is None else quantizer
        _refuse_other_than_codebooks(codebook)
        _refuse_what_is_not_used(codebook)
        require("quantizer.commitment_weight", commitment_weight, at_least=0)
        require("quantizer.random_level", random_level, at_least=0, at_most=1)
        self.pyramid = ScalePyramid() if pyramid is None else pyramid
        if self.pyramid.residual and not codebook.any_size:
            name = type(codebook).__name__
            raise ValueError(
                f"quantizer.quantizer: {name}'s steps are the same on every level, too coarse for what the levels of a "
                "residual pyramid leave over; choose VectorQuantizer, BSQ, ... or ScalePyramid with residual: false"
            )
        if refinement is not None and not self.pyramid.residual:
            raise ValueError("quantizer.refinement: belongs to residual pyramids, whose levels add up; leave it out")
        if random_level and self.pyramid.residual:
            raise ValueError(
                "quantizer.random_level: the levels of a residual pyramid are no images of their own; leave it out, or "
                f"choose ScalePyramid with residual: false, got {random_level}"
            )
        self.codebooks = nn.ModuleList([codebook])
        self.refinement = refinement
        self.share_codebook = share_codebook
        self.commitment_weight = commitment_weight
        self.random_level = random_level

    @property
    def quantizer(self) -> Codebook:
        """The codebook, of the first level where each has its own."""
        return self.codebook(0)

    def codebook(self, level: int) -> Codebook:
        """The codebook of a level."""
        codebook = self.codebooks[0 if self.share_codebook else level]
        assert isinstance(codebook, Codebook)
        return codebook

    @property
    def own_codebooks(self) -> bool:
        return not self.share_codebook

    def extra_repr(self) -> str:
        own = f"share_codebook={self.share_codebook}, commitment_weight={self.commitment_weight}"
        return f"{own}, random_level={self.random_level}"

    def bind(self, width: int, shape: tuple[int, ...]) -> None:
        self.layout = self.pyramid.layout(shape)
        given = self.quantizer.encoder_width(width)
        if given != width:
            name = type(self.quantizer).__name__
            raise ValueError(
                f"quantizer.quantizer: {name} makes vectors of {width} from {given} channels, so nothing is left over"
            )
        if not self.share_codebook:
            self.codebooks = nn.ModuleList(copy.deepcopy(self.quantizer) for _ in self.layout.shapes)
        for level in range(len(self.codebooks)):
            self.codebook(level).bind(width, shape)
        self.codebook_size = self.quantizer.codebook_size
        if self.refinement is not None:
            self.refinement.bind(width, len(shape), len(self.layout.shapes))

    @in_float32
    def forward(self, z: Tensor) -> Quantized:
        f = upcast(z)
        if self.training and any(self.codebook(level).waits for level in range(len(self.codebooks))):
            self._start(f.detach())
        read: list[Tensor] = []
        coded: list[Coded] = []
        parts: list[Tensor] = []

        def quantise(values: Tensor, level: int) -> Tensor:
            read.append(_rows(values))
            coded.append(self.codebook(level).quantise(read[-1]))
            return _map(coded[-1].code, values.shape)

        def refine(whole: Tensor, level: int) -> Tensor:
            parts.append(self._refined(whole, level))
            return parts[-1].detach()

        levels = self.pyramid.split(f, quantise, refine)
        if self.pyramid.residual:
            made, wanted = list(accumulate(parts)), [f] * len(levels)
            source, f_hat = f, made[-1]
        else:
            made, wanted = levels, [self.pyramid.down(f, level) for level in range(len(levels))]
            source, f_hat = area(f, self.layout.finest), self.pyramid.canvas(levels, self.layout.finest)
            if self.training and self.random_level:
                drawn = self._draw()
                source, f_hat = wanted[drawn], made[drawn]
        loss = _mean([self._loss(after, truth) for after, truth in zip(made, wanted, strict=True)])
        loss = loss + _mean([each.regularizer for each in coded])
        figures = {
            f"residual_level_{level}": _left_over(after.detach(), truth.detach())
            for level, (after, truth) in enumerate(zip(made, wanted, strict=True))
        }
        figures |= self._merged([each.figures for each in coded])
        if self.training:
            figures |= self._update([rows.detach() for rows in read], [each.ids for each in coded])
        tokens_BN = torch.cat([each.ids.view(len(z), -1) for each in coded], dim=1)
        return Quantized((source + (f_hat - source).detach()).to(z.dtype), tokens_BN, loss, figures)

    def vectors(self, tokens: Tensor) -> Tensor:
        if self.share_codebook:
            return self.quantizer.lookup(tokens)
        levels = range(len(self.layout.shapes))
        return torch.cat([self.codebook(level).lookup(tokens[:, self.layout.tokens(level)]) for level in levels], dim=1)

    @in_float32
    def assemble(self, vectors_BNC: Tensor, level: int | None = None) -> Tensor:
        below = range(len(self.layout.shapes) if level is None else level)
        batch, _, width = vectors_BNC.shape
        if not below:
            return vectors_BNC.new_zeros(batch, width, *self.layout.finest)
        levels = [self._grid(vectors_BNC, number) for number in below]
        return self.pyramid.canvas(levels, self.layout.finest, self._refined)

    @in_float32
    def canvases(self, vectors_BNC: Tensor, levels: Sequence[int]) -> list[Tensor]:
        if not self.pyramid.residual:
            return super().canvases(vectors_BNC, levels)
        below = [self._grid(vectors_BNC, level) for level in range(max(levels, default=0))]
        placed = self.pyramid.contributions(below, self.layout.finest, self._refined)
        sums = [self.assemble(vectors_BNC, 0), *accumulate(placed)]
        return [sums[level] for level in levels]

    def at(self, layout: Layout) -> Quantizer:
        if self.own_codebooks:
            raise ValueError(
                f"tokenizer: each of its levels {self.layout.shapes} has a codebook of its own, so they cannot be "
                f"exchanged for {layout.shapes}; share_codebook: true allows it"
            )
        twin = copy.copy(self)
        twin.pyramid, twin.layout = self.pyramid.at(layout), layout
        return twin

    @property
    def decoded(self) -> tuple[tuple[int, ...], ...]:
        return self.layout.shapes if self.random_level else super().decoded

    def shown(self, vectors_BNC: Tensor, level: int) -> Tensor:
        if not self.random_level or not level:
            return super().shown(vectors_BNC, level)
        return self._grid(vectors_BNC, level - 1)

    def _draw(self) -> int:
        """The level that a training batch is decoded from."""
        # On the CPU, where a number is there as soon as it is drawn.
        share, place = torch.rand(2, device="cpu").tolist()
        levels = len(self.layout.shapes)
        return int(place * levels) if share < self.random_level else levels - 1

    def _grid(self, vectors_BNC: Tensor, level: int) -> Tensor:
        """A level's vectors on its grid, (B, C, *grid)."""
        values = vectors_BNC[:, self.layout.tokens(level)].transpose(1, 2)
        grid: Tensor = values.unflatten(-1, self.layout.shapes[level])
        return grid

    def _refined(self, whole: Tensor, level: int) -> Tensor:
        refined: Tensor = whole if self.refinement is None else self.refinement(whole, level)
        return refined

    def _loss(self, made: Tensor, wanted: Tensor) -> Tensor:
        drawn = self.commitment_weight * F.mse_loss(wanted, made.detach())
        # Moving averages, rounding and signs learn nothing by gradient: without phi there is nobody to teach.
        taught = next(self.parameters(), None) is not None
        return drawn + F.mse_loss(made, wanted.detach()) if taught else drawn

    # ---- codebooks, all levels' vectors at once or each level's its own

    def _start(self, f: Tensor) -> None:
        """Offer what the levels would read if each expressed half of it: with all of it, depths would be left zeros."""
        read: list[Tensor] = []

        def half(values: Tensor, level: int) -> Tensor:
            read.append(_rows(values))
            return values / 2

        self.pyramid.split(f, half)
        if self.share_codebook:
            self.quantizer.start(torch.cat(read))
            return
        for level, rows_TC in enumerate(read):
            self.codebook(level).start(rows_TC)

    def _update(self, rows: Sequence[Tensor], ids: Sequence[Tensor]) -> Mapping[str, Tensor]:
        if self.share_codebook:
            return self.quantizer.update(torch.cat(list(rows)), torch.cat(list(ids)))
        return _by_level(
            [
                self.codebook(level).update(rows_TC, ids_T)
                for level, (rows_TC, ids_T) in enumerate(zip(rows, ids, strict=True))
            ]
        )

    def _merged(self, figures: Sequence[Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """The mean over levels, or each level's of its own codebook."""
        if not self.share_codebook:
            return _by_level(figures)
        names = dict.fromkeys(name for each in figures for name in each)
        return {name: _mean([each[name] for each in figures if name in each]) for name in names}


def _refuse_other_than_codebooks(quantizer: object) -> None:
    if not isinstance(quantizer, Codebook):
        name = type(quantizer).__name__
        raise ValueError(f"quantizer.quantizer: expected a codebook such as VectorQuantizer, got {name}")


def _refuse_what_is_not_used(codebook: Codebook) -> None:
    options = inspect.signature(type(codebook)).parameters
    given = cast("Mapping[str, object]", codebook.spec()["init_args"])
    for key in [key for key in _NOT_ON_LEVELS if key in options]:
        value = given[key]
        if value not in (options[key].default, StraightThrough().spec()):
            told = value["class_path"].rpartition(".")[2] if isinstance(value, dict) else value
            raise ValueError(
                f"quantizer.quantizer.{key}: has no effect inside PyramidQuantizer, got {told}; {_NOT_ON_LEVELS[key]}"
            )


def _by_level(figures: Sequence[Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    return {f"{name}_level_{level}": figure for level, each in enumerate(figures) for name, figure in each.items()}


def _rows(values: Tensor) -> Tensor:
    """(B, C, *grid) to (T, C)."""
    return values.movedim(1, -1).flatten(0, -2)


def _map(rows_TC: Tensor, shape: torch.Size) -> Tensor:
    """(T, C) to (B, C, *grid)."""
    return rows_TC.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def _mean(scalars: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(scalars)).mean()


def _left_over(made: Tensor, wanted: Tensor) -> Tensor:
    energy = wanted.square().sum().clamp(min=torch.finfo(wanted.dtype).tiny)
    return (wanted - made).square().sum() / energy
