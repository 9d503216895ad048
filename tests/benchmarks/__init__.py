"""Measurements, run by make bench. Never tests: they print ratios and medians taken in one run."""
