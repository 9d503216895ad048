"""Choices: which of the masked tokens become known in a step of masked decoding.

Letters: B batch, M masked tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Progress
from arlab.ranges import require
from arlab.rng import Rng


class Choice(Configurable, ABC):
    """Says which tokens of a step are kept."""

    draws_all: bool
    """Whether a step draws every masked token, of which those that are not kept are drawn again; else only those that
    are kept, which the drawn order has settled."""

    @abstractmethod
    def ranks(self, drawn: Drawn | None, count: int, progress: Progress, rng: Rng) -> Tensor:
        """The masked tokens from the first to be kept to the last, (B, M) indices.

        Args:
            drawn: what was drawn, of all of them where the choice draws all; None where nobody draws, for instance
                when the plan alone is looked at.
            count: M.
            progress: of the step.
            rng: for what is drawn.
        """


class RandomChoice(Choice):
    """A random order, drawn before decoding begins, settles which tokens a step draws (MAR).

    Autoregressive Image Generation without Vector Quantization (MAR), arXiv 2406.11838.
    """

    draws_all = False

    def __init__(self) -> None:
        pass

    def ranks(self, drawn: Drawn | None, count: int, progress: Progress, rng: Rng) -> Tensor:
        return torch.arange(count).expand(rng.batch, -1)


class ConfidenceChoice(Choice):
    """The tokens that were drawn with most confidence are kept: log p + τ (1 - r) g, g standard Gumbel noise.

    r is the share of the steps that are over after this one, so that the last choice is without noise.

    MaskGIT: Masked Generative Image Transformer, arXiv 2202.04200; by logits: An Image is Worth 32 Tokens for
    Reconstruction and Generation (TiTok), arXiv 2406.07550.

    Args:
        temperature: τ; 0 keeps the most confident tokens, without noise.
        by_logit: look at logits (TiTok) rather than log-probabilities (MaskGIT), where the head has them; logits are
            guided, but not divided by the temperature at which tokens are drawn.
        softened: the noise is multiplied by 0.5 + 0.8 (1 - r), as where TiTok's figures are measured: there, logits are
            divided by it first.
    """

    draws_all = True

    def __init__(self, *, temperature: float = 4.5, by_logit: bool = False, softened: bool = False) -> None:
        require("ordering.choice.temperature", temperature, at_least=0)
        self.temperature = temperature
        self.by_logit = by_logit
        self.softened = softened

    def ranks(self, drawn: Drawn | None, count: int, progress: Progress, rng: Rng) -> Tensor:
        # Drawn in any case, so that what is drawn after it does not depend on who looks.
        gumbel_BM = -(-rng.uniform(count).clamp(min=1e-20).log()).log()
        sure_BM = None if drawn is None else drawn.log_prob
        if self.by_logit and drawn is not None and drawn.logit is not None:
            sure_BM = drawn.logit
        if sure_BM is None:
            return gumbel_BM.argsort(dim=-1, descending=True)
        amount = self.temperature * left(progress) * (softness(progress) if self.softened else 1)
        confidence_BM = sure_BM.detach().to(gumbel_BM) + amount * gumbel_BM
        return confidence_BM.argsort(dim=-1, descending=True, stable=True)


def left(progress: Progress) -> float:
    """1 - r: the share of the steps still to come after this one."""
    return 1 - (progress.step + 1) / progress.steps


def softness(progress: Progress) -> float:
    """0.5 + 0.8 (1 - r): what TiTok's code divides logits by."""
    return 0.5 + 0.8 * left(progress)
