"""One compared quantity: what was expected, how far off it may be, and how far off it was."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Measured:
    """A quantity against its golden.

    Attributes:
        model: whose.
        quantity: which.
        tolerance: how far it may be off, in words.
        error: how far it is off at most: an absolute difference, or a number of differing entries.
        passed: whether that is tolerated everywhere.
    """

    model: str
    quantity: str
    tolerance: str
    error: float
    passed: bool


@dataclass(frozen=True)
class Meter:
    """Compares the quantities of one model."""

    model: str

    def close(self, quantity: str, got: Tensor, expected: Tensor, *, atol: float = 0.0, rtol: float = 0.0) -> Measured:
        """|got - expected| <= atol + rtol |expected|, entry by entry."""
        difference = _difference(quantity, got, expected)
        allowed = atol + rtol * expected.detach().abs()
        terms = [f"{atol:.0e}"] * (atol > 0) + [f"{rtol:.0e}·|x|"] * (rtol > 0)
        passed = bool((difference <= allowed).all())
        return Measured(self.model, quantity, " + ".join(terms), float(difference.max()), passed)

    def scaled(self, quantity: str, got: Tensor, expected: Tensor, rtol: float) -> Measured:
        """|got - expected| <= rtol · max|expected|."""
        difference, largest = _difference(quantity, got, expected), float(expected.abs().max())
        error = float(difference.max())
        return Measured(self.model, quantity, f"{rtol:.0e}·max|x|", error, error <= rtol * largest)

    def exact(self, quantity: str, got: Tensor, expected: Tensor) -> Measured:
        """Every entry equal."""
        assert got.shape == expected.shape, f"{quantity}: {tuple(got.shape)} against {tuple(expected.shape)}"
        different = int((got != expected).sum())
        return Measured(self.model, quantity, "equal", float(different), different == 0)


def _difference(quantity: str, got: Tensor, expected: Tensor) -> Tensor:
    assert got.shape == expected.shape, f"{quantity}: {tuple(got.shape)} against {tuple(expected.shape)}"
    return (got.detach() - expected).abs()
