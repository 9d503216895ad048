"""Stable Diffusion's KL autoencoder (arXiv 2112.10752), which ACDiT draws latents of."""

from __future__ import annotations

from arlab.checkpoints.ldm_kl import LDMKL


class SDKL(LDMKL):
    """``LDMKL`` with another scale; released in LDM's names: 8 x 8 pixels a token of 4 numbers.

    High-Resolution Image Synthesis with Latent Diffusion Models (LDM), arXiv 2112.10752.

    Args:
        scale: what tokens are multiplied with so that their spread is about 1.
        norm_groups: groups of the norms.
    """

    def __init__(self, *, scale: float = 0.18215, norm_groups: int = 32) -> None:
        super().__init__(scale=scale, norm_groups=norm_groups)
