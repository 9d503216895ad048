"""Numbers as they are read: with as many digits as their interval bears out."""

from __future__ import annotations

import math

MISSING = "–"
_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DIGITS = 4
_TINY = 1e-6


def interval_text(value: float, low: float | None, high: float | None) -> tuple[str, str]:
    """A value and its interval, to the two leading digits of the interval's half width; '' where there is none."""
    if low is None or high is None or not all(map(math.isfinite, (value, low, high))):
        return _aligned(number(value)), ""
    half = (high - low) / 2
    # An interval far narrower than its value would print digits that nobody reads.
    least = float(f"{max(half, abs(value) * 10.0 ** (1 - _DIGITS)):.2g}")
    if 0 < least < _TINY:
        return f"{value:.3g}", f"{low:.3g} – {high:.3g}"
    places = max(0, 1 - math.floor(math.log10(least))) if least > 0 else 0
    return f"{value:,.{places}f}", f"{low:,.{places}f} – {high:,.{places}f}"


def _aligned(text: str) -> str:
    """A number with all its digits, so that 23.7 stands below 23.71 as 23.70."""
    if "." not in text or "e" in text:
        return text
    digits = text.lstrip("-").replace(",", "").replace(".", "").lstrip("0")
    return text + "0" * (_DIGITS - len(digits))


def number(value: float) -> str:
    """Four significant digits; whole numbers whole."""
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == round(value) and abs(value) < 1e9:
        return f"{value:,.0f}"
    if abs(value) >= 10**_DIGITS:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"
    return f"{value:.{_DIGITS}g}"


def with_prefix(value: float, *, whole: bool = False) -> str:
    """Three digits and a prefix: 1.10 M, 4.50 G, 2.20 T; 1e21 and more as powers of ten.

    Args:
        value: of any size.
        whole: without zeros at the end, as on an axis: 1.1 M.
    """
    if not math.isfinite(value) or abs(value) < 1000:
        return number(value)
    if abs(value) >= 1e21:
        return f"{value:.2e}"
    value = float(f"{value:.4g}" if whole else f"{value:.3g}")
    scale, prefix = next((scale, prefix) for scale, prefix in _PREFIXES if abs(value) >= scale)
    digits = f"{value / scale:.4g}" if whole else f"{value / scale:#.3g}".rstrip(".")
    return f"{digits} {prefix}"
