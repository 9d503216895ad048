"""What a token is: an index into a codebook, or a vector."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenSpace:
    """The values a token can take.

    Attributes:
        width: C, the width of a token's vector.
        codebook_size: V for discrete tokens, None for continuous ones.
    """

    width: int
    codebook_size: int | None = None

    @property
    def discrete(self) -> bool:
        """Whether tokens are indices into a codebook."""
        return self.codebook_size is not None
