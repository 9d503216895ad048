"""Entropy losses: each latent should be sure of its code, all of them together should use every code.

Letters: K outcomes, T vectors, V codebook size.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from arlab.configurable import Configurable
from arlab.ranges import require
from arlab.tokenizers.processes import mean_over_processes

_OFFSET = 1e-5
_SMALLEST = 1e-30


def entropy(p: Tensor) -> Tensor:
    """-Σ_k p_k ln p_k in nats, over the last dimension (..., K); its gradient is finite at p = 0 too."""
    nats: Tensor = -(p * p.clamp(min=_SMALLEST).log()).sum(-1)
    return nats


def figures_of(sample: Tensor, batch: Tensor) -> Mapping[str, Tensor]:
    """Both entropies as figures to log, in nats."""
    return {"sample_entropy": sample.detach(), "batch_entropy": batch.detach()}


class EntropyLoss(Configurable):
    """weight · (mean_t H(p_t) - diversity · H(mean_t p_t)), p_t = softmax_v(-|z_t - e_v|² / temperature).

    The first entropy is that of a latent's own choice, the second that of the whole batch, of all processes; as
    published, the logarithm of the second is ln(p + 1e-5). It is part of training only: batches of another size
    have another value.

    As in LlamaGen, arXiv 2406.06525, and MaskGIT, arXiv 2202.04200.

    Args:
        weight: of the whole; entropies are in nats.
        temperature: in units of squared distance.
        diversity: of the entropy of the mean over that of single latents.
    """

    def __init__(self, *, weight: float = 0.1, temperature: float = 0.01, diversity: float = 1.0) -> None:
        require("quantizer.entropy.weight", weight, at_least=0)
        require("quantizer.entropy.temperature", temperature, above=0)
        require("quantizer.entropy.diversity", diversity, at_least=0)
        self.weight = weight
        self.temperature = temperature
        self.diversity = diversity

    def __call__(self, distance_TV: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss and both entropies, from squared distances up to a constant per latent."""
        log_p_TV = (-distance_TV / self.temperature).log_softmax(-1)
        p_TV = log_p_TV.exp()
        sample = -(p_TV * log_p_TV).sum(-1).mean()
        mean_V = mean_over_processes(p_TV.mean(0))
        batch = -(mean_V * (mean_V + _OFFSET).log()).sum()
        return self.weight * (sample - self.diversity * batch), figures_of(sample, batch)
