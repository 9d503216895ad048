"""Released weights: how published checkpoints are read, and what they are here."""
