"""Stable Diffusion's KL autoencoder (arXiv 2112.10752), which ACDiT draws latents of."""

from __future__ import annotations

from arlab.checkpoints.ldm_kl import LDMKL


class SDKL(LDMKL):
    """``LDMKL`` of other tokens, in LDM's names: 8 x 8 pixels a token of 4 numbers, and their scale.

    High-Resolution Image Synthesis with Latent Diffusion Models (LDM), arXiv 2112.10752.

    Args:
        scale: what tokens are multiplied with so that their spread is about 1; 0: the release's, where tokens are as
            wide as its own.
        norm_groups: groups of the norms.
    """

    width = 4
    released_scale = 0.18215
