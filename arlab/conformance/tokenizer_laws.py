"""Laws of tokenizers: images become tokens as the layout says, and tokens images.

Letters: B batch, N tokens, C channels or width of a token vector, V codebook size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.configurable import from_spec, to_plain
from arlab.conformance.law import Grid, LawBrokenError, rebuilt
from arlab.data.facts import DataFacts
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace

_NEAR = 1e-4


@dataclass(frozen=True)
class TokenizerSubject:
    """A tokenizer of images of one size.

    Attributes:
        tokenizer: what is tested, in evaluation mode.
        seed: of the images.
    """

    tokenizer: Tokenizer
    seed: int = 0

    @property
    def component(self) -> Tokenizer:
        """What is tested."""
        return self.tokenizer

    @property
    def told(self) -> str:
        """The channels of its images."""
        return "gray images" if self.tokenizer.facts.channels == 1 else f"{self.tokenizer.facts.channels} channels"

    def images(self) -> Tensor:
        """Random images (2, C, H, W) in [-1, 1]."""
        random = torch.Generator().manual_seed(self.seed)
        facts = self.tokenizer.facts
        return 2 * torch.rand(2, facts.channels, *facts.image_size, generator=random) - 1


def tokenizer_cases(tokenizer: Tokenizer, size: Grid) -> list[TokenizerSubject]:
    """Tokenizers like this one, of gray and of colour images of this size.

    Raises:
        ValueError: it refuses them.
    """
    record = tokenizer.spec()
    arguments = record["init_args"]
    assert isinstance(arguments, dict)
    if len(size) != 2:
        raise ValueError("images have two sides")
    made = []
    for channels in (1, 3):
        facts = DataFacts("toy", channels, (size[0], size[1]), ("a", "b"))
        torch.default_generator.manual_seed(0)
        like_it = from_spec({**record, "init_args": {**arguments, "facts": to_plain(facts)}}, Tokenizer)
        made.append(TokenizerSubject(like_it.eval()))
    return made


@torch.no_grad()
def images_become_tokens(subject: TokenizerSubject) -> None:
    """An image becomes as many tokens as the layout says, below the codebook's size, each with a vector."""
    tokenizer = subject.tokenizer
    tokens = tokenizer.encode(subject.images())
    judge_tokens(tokens, tokenizer.layout.num_tokens, tokenizer.space)
    vectors = tokenizer.vectors(tokens)
    if tuple(vectors.shape) != (2, tokenizer.layout.num_tokens, tokenizer.space.width):
        raise LawBrokenError(f"the vectors of its tokens have the shape {tuple(vectors.shape)}")


@torch.no_grad()
def tokens_become_images(subject: TokenizerSubject) -> None:
    """Tokens become finite images in [-1, 1] of the size that was encoded, and those can be encoded again."""
    tokenizer, image_BCHW = subject.tokenizer, subject.images()
    tokens = tokenizer.encode(image_BCHW)
    decoded_BCHW = tokenizer.decode(tokens)
    if decoded_BCHW.shape != image_BCHW.shape:
        raise LawBrokenError(f"images {tuple(image_BCHW.shape)} come back as {tuple(decoded_BCHW.shape)}")
    if not bool(decoded_BCHW.isfinite().all()) or float(decoded_BCHW.abs().max()) > 1 + _NEAR:
        raise LawBrokenError("decoded images leave [-1, 1] or are not finite")
    again = tokenizer.encode(decoded_BCHW)
    if again.shape != tokens.shape:
        raise LawBrokenError(f"decoded images become tokens {tuple(again.shape)}, the originals {tuple(tokens.shape)}")


@torch.no_grad()
def images_apart(subject: TokenizerSubject) -> None:
    """The tokens of an image do not depend on the others of its batch, nor the image of its tokens."""
    tokenizer, image_BCHW = subject.tokenizer, subject.images()
    tokens = tokenizer.encode(image_BCHW)
    near("image 1 has other tokens when it is alone", tokenizer.encode(image_BCHW[1:]), tokens[1:])
    decoded_BCHW = tokenizer.decode(tokens)
    near(
        "the tokens of image 1 become another image when they are alone", tokenizer.decode(tokens[1:]), decoded_BCHW[1:]
    )


TOKENIZER_LAWS = (images_become_tokens, tokens_become_images, images_apart, rebuilt)
"""In the order in which an author wants to hear about them."""


def judge_tokens(tokens: Tensor, count: int, space: TokenSpace) -> None:
    """See that the tokens of two images are as many as the layout says, and of the kind that is told."""
    wanted = (2, count) if space.discrete else (2, count, space.width)
    if tuple(tokens.shape) != wanted:
        raise LawBrokenError(f"tokens of 2 images have the shape {tuple(tokens.shape)}, its layout says {wanted}")
    if space.codebook_size is None:
        return
    if tokens.is_floating_point():
        raise LawBrokenError(f"its tokens are {tokens.dtype}, but there are {space.codebook_size} codes")
    least, most = int(tokens.min()), int(tokens.max())
    if least < 0 or most >= space.codebook_size:
        raise LawBrokenError(f"its tokens are {least} to {most}, but there are {space.codebook_size} codes")


def near(what: str, one: Tensor, other: Tensor) -> None:
    """See that two tensors are the same, but for rounding."""
    error = float((one - other).abs().max())
    if not error <= _NEAR * max(1.0, float(other.abs().max())):
        raise LawBrokenError(f"{what}, by {error:.1e}")
