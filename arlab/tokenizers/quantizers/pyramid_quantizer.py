"""One codebook, or one per level, along a pyramid: multi-scale, next-frequency and residual quantisation.

Letters: B batch, C vector width, S the latent's sides, N tokens, L levels, T vectors.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.precision import in_float32, upcast
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.quantizers.phi import PhiConvolutions
from arlab.tokenizers.quantizers.quantizer import Codebook, Coded, Quantized, Quantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer


class PyramidQuantizer(Quantizer):
    """Splits a latent along a pyramid, quantises each level, and puts the levels back together.

        q_l = quantise(level_l);  f̂_l = Σ_{m <= l} φ(up(q_m));  vectors = f̂_L, the decoder's gradient straight to f
        loss = mean_l [commitment_weight · mean (f - sg(f̂_l))² + mean (f̂_l - sg(f))²] + mean_l regularizer_l,
        the second term only where codes or φ are learned by gradient

    Where the pyramid is not residual, each level is compared with the latent on that level's grid instead, and the
    decoder gets the last level alone. Codes and φ
    learn from f̂; the levels are read off what the detached f̂ leaves over. A codebook's own losses but the regularizer,
    and the way it passes gradients, have no effect here.

        PyramidQuantizer(pyramid=ScalePyramid(), quantizer=VectorQuantizer(), refinement=PhiConvolutions())    # VAR
        PyramidQuantizer(pyramid=DepthPyramid(depth=4))                                                        # RQ-VAE

    Figures: residual_level_l, the share of the energy |f|² that is not expressed after level l, and the codebook's.

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905
    Autoregressive Image Generation using Residual Quantization (RQ-VAE), arXiv 2203.01941

    Args:
        pyramid: the levels; scales by default.
        quantizer: the codebook.
        refinement: what is done to each level's share of the map; none: nothing.
        share_codebook: whether all levels use one codebook, or each its own.
        commitment_weight: how strongly latents are drawn to what the levels make of them.

    Raises:
        ValueError: the quantizer is no codebook, or the refinement would have no effect.
    """

    def __init__(
        self,
        *,
        pyramid: Pyramid | None = None,
        quantizer: Codebook | None = None,
        refinement: PhiConvolutions | None = None,
        share_codebook: bool = True,
        commitment_weight: float = 0.25,
    ) -> None:
        super().__init__()
        codebook = VectorQuantizer() if quantizer is None else quantizer
        _refuse_other_than_codebooks(codebook)
        if not 0 <= commitment_weight < math.inf:
            raise ValueError(f"quantizer.commitment_weight: must be at least 0, got {commitment_weight}")
        self.pyramid = ScalePyramid() if pyramid is None else pyramid
        if self.pyramid.residual and not codebook.any_size:
            name = type(codebook).__name__
            raise ValueError(
                f"quantizer.quantizer: {name}'s steps are the same on every level, too coarse for what the levels of a "
                "residual pyramid leave over; choose VectorQuantizer, BSQ, ... or ScalePyramid with residual: false"
            )
        if refinement is not None and not self.pyramid.residual:
            raise ValueError("quantizer.refinement: belongs to residual pyramids, whose levels add up; leave it out")
        self.codebooks = nn.ModuleList([codebook])
        self.refinement = refinement
        self.share_codebook = share_codebook
        self.commitment_weight = commitment_weight

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
        return f"share_codebook={self.share_codebook}, commitment_weight={self.commitment_weight}"

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
            f_hat = made[-1]
        else:
            made, wanted = levels, [self.pyramid.down(f, level) for level in range(len(levels))]
            f_hat = self.pyramid.canvas(levels, self.layout.finest)
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
        return Quantized((f + (f_hat - f).detach()).to(z.dtype), tokens_BN, loss, figures)

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
        levels = [
            vectors_BNC[:, self.layout.tokens(number)].transpose(1, 2).unflatten(-1, self.layout.shapes[number])
            for number in below
        ]
        return self.pyramid.canvas(levels, self.layout.finest, self._refined)

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
