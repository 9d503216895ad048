"""Quantisation of each channel to a few levels, without a codebook.

Letters: C vector width, T vectors quantised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arlab.tokenizers.quantizers.quantizer import Codebook, Coded

_MOST_CODES = 2**18
_MOST_LEVELS = 1000


class FSQ(Codebook):
    """Each channel is bounded to an interval of L_c whole numbers and rounded; the numbers together are the token.

    digit_c = round((L_c - 1) / 2 · tanh(z_c + shift_c) - offset_c);  id = Σ_c digit_c · Π_{b < c} L_b, from 0;
    code_c = digit_c / ⌊L_c / 2⌋ in [-1, 1];  the gradient passes the rounding as it is, and tanh. Even levels have
    offset 1/2 and a shift that maps 0 to 0. No losses, nothing learned, and no code that could die.

    Inside is vector-quantize-pytorch's FSQ, which widens the interval by 0.1 % so that the outer levels are reached.

    Finite Scalar Quantization: VQ-VAE Made Simple (FSQ), arXiv 2309.15505.

    Args:
        levels: L_c of each channel, at least 3 (for 2 there is LFQ), at most 2^18 codes altogether; none: 8, 5, 5, 5.
    """

    any_size = False

    def __init__(self, *, levels: list[int] | None = None) -> None:
        super().__init__()
        self.levels = [8, 5, 5, 5] if levels is None else list(levels)
        if not self.levels or not all(3 <= level <= _MOST_LEVELS for level in self.levels):
            allowed = f"must be one or more numbers in 3 .. {_MOST_LEVELS}"
            raise ValueError(f"quantizer.levels: {allowed} (for 2 there is LFQ), got {self.levels}")
        self.codebook_size = math.prod(self.levels)
        if self.codebook_size > _MOST_CODES:
            raise ValueError(
                f"quantizer.levels: must make at most {_MOST_CODES} codes, got {self.codebook_size} by {self.levels}; "
                "for more there is BSQ"
            )

    def create(self, width: int) -> None:
        if width != len(self.levels):
            raise ValueError(
                f"tokenizer.token_width: must be the number of quantizer.levels, {len(self.levels)} ({self.levels}), "
                f"got {width}"
            )
        # The import takes a second, and few configurations need it.
        import vector_quantize_pytorch

        with torch.device("cpu"):  # it reads numbers off its tensors, which other default devices may not have
            self.inside = vector_quantize_pytorch.FSQ(self.levels)

    def lookup(self, ids: Tensor) -> Tensor:
        codes_TC: Tensor = self.inside.indices_to_codes(ids.flatten())
        return codes_TC.to(self.inside.implicit_codebook.dtype).view(*ids.shape, -1)

    def quantise(self, z_TC: Tensor) -> Coded:
        vectors_1TC, ids_1T = self.inside(z_TC[None])
        # What is not a number would be no code at all.
        ids_T = ids_1T[0].long().clamp(0, self.codebook_size - 1)
        none = z_TC.new_zeros(())
        return Coded(ids_T, vectors_1TC[0], self.lookup(ids_T), none, none)
