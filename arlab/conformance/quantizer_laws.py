"""Laws of quantizers: tokens are what they are said to be, and lead back.

Letters: B batch, N tokens, C width of a token vector, S the latent's sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.conformance.law import Grid, LawBrokenError, fresh, rebuilt
from arlab.conformance.refusal import is_refusal
from arlab.conformance.tokenizer_laws import judge_tokens, near
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokens import TokenSpace

_WIDTHS = (8, 4, 6, 3, 5, 10, 12, 16, 18)


@dataclass(frozen=True)
class QuantizerSubject:
    """A quantizer of latents of one shape.

    Attributes:
        quantizer: what is tested; it is never bound itself, only others like it.
        grid: the shape of the latent.
        width: C.
        seed: of weights and latents.
    """

    quantizer: Quantizer
    grid: Grid
    width: int
    seed: int = 0

    @property
    def component(self) -> Quantizer:
        """What is tested."""
        return self.quantizer

    @property
    def told(self) -> str:
        """The width of its vectors."""
        return f"vectors of {self.width}"

    def bound(self) -> Quantizer:
        """A quantizer like it, bound, in evaluation mode."""
        state = torch.get_rng_state()
        torch.default_generator.manual_seed(self.seed)
        quantizer = fresh(self.quantizer)
        quantizer.bind(self.width, self.grid)
        torch.set_rng_state(state)
        return quantizer.eval()

    def latent(self, quantizer: Quantizer) -> Tensor:
        """Random latents (2, C, *S)."""
        random = torch.Generator().manual_seed(self.seed)
        return torch.randn(2, quantizer.encoder_width(self.width), *self.grid, generator=random)


def quantizer_cases(quantizer: Quantizer, grid: Grid) -> list[QuantizerSubject]:
    """A quantizer of latents of this shape, of the first width that it takes.

    Raises:
        ValueError: it takes none.
    """
    refusal = None
    for width in _WIDTHS:
        subject = QuantizerSubject(quantizer, grid, width)
        try:
            subject.bound()
        except Exception as error:
            if isinstance(error, ValueError) and is_refusal(error, type(quantizer)):
                refusal = refusal or error
                continue
            # Which law it breaks by this is told when the laws are tried.
        return [subject]
    assert refusal is not None
    raise refusal


@torch.no_grad()
def tokens_are_told(subject: QuantizerSubject) -> None:
    """A latent becomes as many tokens as the layout says, below the codebook's size; the loss is a finite number."""
    quantizer = subject.bound()
    quantized = quantizer(subject.latent(quantizer))
    if quantizer.layout.finest != subject.grid:
        raise LawBrokenError(f"the finest level of its layout is {quantizer.layout.finest}, the latent {subject.grid}")
    space = TokenSpace(subject.width, quantizer.codebook_size)
    judge_tokens(quantized.tokens, quantizer.layout.num_tokens, space)
    if tuple(quantized.vectors.shape) != (2, subject.width, *subject.grid):
        raise LawBrokenError(f"what the decoder gets has the shape {tuple(quantized.vectors.shape)}")
    if quantized.loss.dim() or not bool(quantized.loss.isfinite()):
        raise LawBrokenError(f"its loss is no finite number: {quantized.loss}")


@torch.no_grad()
def tokens_lead_back(subject: QuantizerSubject) -> None:
    """The vectors of all tokens, put back on one map, are what the decoder gets."""
    quantizer = subject.bound()
    quantized = quantizer(subject.latent(quantizer))
    vectors_BNC = quantizer.vectors(quantized.tokens)
    if tuple(vectors_BNC.shape) != (2, quantizer.layout.num_tokens, subject.width):
        raise LawBrokenError(f"the vectors of its tokens have the shape {tuple(vectors_BNC.shape)}")
    near("the map of its tokens and what the decoder gets differ", quantizer.assemble(vectors_BNC), quantized.vectors)


@torch.no_grad()
def latents_apart(subject: QuantizerSubject) -> None:
    """When evaluated, the tokens of a latent do not depend on the others of its batch."""
    quantizer = subject.bound()
    z = subject.latent(quantizer)
    near("latent 1 has other tokens when it is alone", quantizer(z).tokens[1:], quantizer(z[1:]).tokens)


def gradients_pass(subject: QuantizerSubject) -> None:
    """In training gradients pass through to the latent."""
    quantizer = subject.bound().train()
    z = subject.latent(quantizer).requires_grad_()
    quantizer(z).vectors.square().sum().backward()
    if z.grad is None or not bool(z.grad.isfinite().all()) or not bool(z.grad.any()):
        raise LawBrokenError("the gradient of what the decoder gets with respect to the latent is zero or not finite")


QUANTIZER_LAWS = (tokens_are_told, tokens_lead_back, latents_apart, gradients_pass, rebuilt)
"""In the order in which an author wants to hear about them."""
