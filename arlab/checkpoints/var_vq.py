"""VAR's multi-scale VQVAE (arXiv 2404.02905)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from arlab.checkpoints.family import TokenizerFamily
from arlab.checkpoints.names import Names, Rule, Tensors, same
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.var_scales import scales_of, told_scales
from arlab.checkpoints.vqgan_names import LDM, autoencoder_names, read_autoencoder, shrinks
from arlab.data.facts import DataFacts
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.phi import PhiConvolutions, taken
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.similarity import Angle
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder

_STYLE = replace(LDM, fused=True)
_PHI = "quantize.quant_resi"


class VARVQ(TokenizerFamily):
    """The VQVAE of VAR; its tensors tell all but the options below; also which scales share a convolution φ.

    Args:
        patch_nums: the scales, coarse to fine: sides, or [height, width] of a grid.
        phi_ratio: r of φ(h) = (1 - r) h + r conv(h).
        using_znorm: whether the nearest code is that of the nearest direction; not so in the release.
    """

    marks = ("encoder.mid.attn_1.qkv.weight", "quantize.embedding.weight")
    entries = ("trainer.vae_local", *TokenizerFamily.entries)
    # How often codes were used.
    unused = (r"^quantize\.ema_vocab_hit_SV$",)

    def __init__(
        self,
        *,
        patch_nums: list[int | list[int]] | None = None,
        phi_ratio: float = 0.5,
        using_znorm: bool = False,
    ) -> None:
        self.patch_nums = patch_nums
        self.phi_ratio = phi_ratio
        self.using_znorm = using_znorm

    def informed(self, args: Mapping[str, object]) -> Self:
        return told_scales(self, args)

    def shrinks(self, shapes: Shapes) -> int:
        return shrinks(shapes, _STYLE)

    def tokenizer(self, shapes: Shapes, facts: DataFacts) -> VQTokenizer:
        return VQTokenizer(
            facts=facts,
            autoencoder=VQGANAutoencoder(**read_autoencoder(shapes, _STYLE)),
            quantizer=self.quantizer(shapes),
            token_width=shapes.size("quantize.embedding.weight", 1),
        )

    def quantizer(self, shapes: Shapes) -> PyramidQuantizer:
        """The quantizer, of which ``tokenizer`` is the rest."""
        patch_nums = self.need(self.patch_nums)
        scales_of(patch_nums)
        return PyramidQuantizer(
            pyramid=ScalePyramid(patch_nums=patch_nums),
            quantizer=GradientVectorQuantizer(
                codebook_size=shapes.size("quantize.embedding.weight"),
                similarity=Angle() if self.using_znorm else None,
                start_from_data=False,
                revive_below=0,
            ),
            refinement=self._phi(shapes),
        )

    def names(self, tokenizer: Tokenizer) -> Names:
        assert isinstance(tokenizer, VQTokenizer)
        assert isinstance(tokenizer.quantizer, PyramidQuantizer)
        return Names([*autoencoder_names(tokenizer, _STYLE), *self.quantizer_names(tokenizer.quantizer)])

    def quantizer_names(self, quantizer: PyramidQuantizer) -> Iterator[Rule]:
        """The rules of the quantizer, which is a tokenizer's 'quantizer'."""
        yield same("quantize.embedding.weight", "quantizer.codebooks.0.codebook")
        if quantizer.refinement is None:
            return
        num, levels = quantizer.refinement.num, len(quantizer.layout.shapes)
        used = sorted(set(taken(num, levels))) if num else list(range(levels))
        stem = {0: f"{_PHI}.{{}}", 1: f"{_PHI}.qresi"}.get(num, f"{_PHI}.qresi_ls.{{}}")
        for part in ("weight", "bias"):
            spare = [f"{stem.format(k)}.{part}" for k in range(num) if k not in used]
            for number, k in enumerate(used):
                theirs, ours = f"{stem.format(k)}.{part}", f"quantizer.refinement.convolutions.{number}.{part}"
                # Released with all of them; ours are those that a scale takes.
                yield _with_spare(theirs, spare, ours) if number == 0 else same(theirs, ours)

    def _phi(self, shapes: Shapes) -> PhiConvolutions | None:
        """One φ for all scales, one for each, several that neighbours share, or none."""
        if f"{_PHI}.qresi.weight" in shapes:
            return PhiConvolutions(ratio=self.phi_ratio, num=1)
        if f"{_PHI}.0.weight" in shapes:
            return PhiConvolutions(ratio=self.phi_ratio, num=0)
        if f"{_PHI}.qresi_ls.0.weight" in shapes:
            return PhiConvolutions(ratio=self.phi_ratio, num=shapes.count(f"{_PHI}.qresi_ls.{{}}.weight"))
        return None


def _with_spare(theirs: str, spare: list[str], ours: str) -> Rule:
    """A tensor by another name, and others of its shape that nothing uses."""

    def published(value: Tensor) -> Tensors:
        return (value, *(torch.zeros_like(value) for _ in spare))

    return Rule((theirs, *spare), (ours,), lambda value, *_: (value,), published)
