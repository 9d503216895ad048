"""Published orderings as small fixtures: the frame must carry them all. Each is untrained and as short as it gets."""
