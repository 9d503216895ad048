"""Stable Diffusion's KL autoencoder (arXiv 2112.10752), which ACDiT draws latents of, in the names it is about in."""

from __future__ import annotations

from arlab.checkpoints.diffusers_names import DEPRECATED, DIFFUSERS, diffusers_names
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.checkpoints.names import Names
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.tokenizer import Tokenizer


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


class DiffusersKL(SDKL):
    """The same in diffusers' names (diffusion_pytorch_model.safetensors).

    High-Resolution Image Synthesis with Latent Diffusion Models (LDM), arXiv 2112.10752.

    Args:
        scale: what tokens are multiplied with so that their spread is about 1; 0: the release's, where tokens are as
            wide as its own.
        norm_groups: groups of the norms.
    """

    marks = ("encoder.mid_block.attentions.0.to_q.weight", "quant_conv.weight", "post_quant_conv.weight")
    style = DIFFUSERS

    def names(self, tokenizer: Tokenizer) -> Names:
        assert isinstance(tokenizer, KLTokenizer)
        return Names(diffusers_names(tokenizer, self.style))


class DeprecatedDiffusersKL(DiffusersKL):
    """The same in the names that diffusers had at first.

    High-Resolution Image Synthesis with Latent Diffusion Models (LDM), arXiv 2112.10752.

    Args:
        scale: what tokens are multiplied with so that their spread is about 1; 0: the release's, where tokens are as
            wide as its own.
        norm_groups: groups of the norms.
    """

    marks = ("encoder.mid_block.attentions.0.query.weight", "quant_conv.weight", "post_quant_conv.weight")
    style = DEPRECATED
