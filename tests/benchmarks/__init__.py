"""Measurements, run by make bench. Never tests: they print ratios and medians taken in one run."""

# Before torch, so that its threads wait as they do under the arlab command.
import arlab  # noqa: F401
