"""Which code is nearest: how latents and codes are compared.

Letters: C vector width, V codebook size, T vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.configurable import Configurable


class Similarity(Configurable, ABC):
    """Puts latents and codes where their distance says how alike they are; the decoder gets them from there."""

    @abstractmethod
    def place(self, x: Tensor) -> Tensor:
        """Vectors (..., C) to where they are compared; placing twice is placing once."""

    def compared(self, placed: Tensor) -> Tensor:
        """Of placed vectors (..., C) what the distance is taken of: all of them, or their directions alone."""
        return placed


class Euclidean(Similarity):
    """Vectors stay where they are: the nearest code is argmin |z - e|."""

    def place(self, x: Tensor) -> Tensor:
        return x


class Cosine(Similarity):
    """Vectors are divided by their length: the nearest code is argmax cos(z, e), and the decoder gets unit vectors.

    Vector-quantized Image Modeling with Improved VQGAN (ViT-VQGAN), arXiv 2110.04627; as in LlamaGen,
    arXiv 2406.06525.
    """

    def place(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class Angle(Similarity):
    """Vectors stay where they are, but the nearest code is argmax cos(z, e): lengths are told, and not compared.

    VAR's tokenizer with ``using_znorm``; the released one is Euclidean.

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905.
    """

    def place(self, x: Tensor) -> Tensor:
        return x

    def compared(self, placed: Tensor) -> Tensor:
        return F.normalize(placed, dim=-1)


def relative_distance(z_TC: Tensor, code_VC: Tensor) -> Tensor:
    """|e_v|² - 2 z · e_v = |z - e_v|² - |z|², shape (T, V): what differs between codes."""
    return torch.addmm(code_VC.square().sum(-1), z_TC, code_VC.T, alpha=-2)
