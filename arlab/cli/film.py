"""How images grow: the grid after each step, as an animation or one PNG a step.

Letters: B images of all batches.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from arlab.generators.sampler import Partial
from arlab.images import Picture, save_png
from arlab.runs.files import written_whole
from arlab.trained import grid

_MOST = 64
_SECONDS = 4.0
_HOLD = 1.5


class Film:
    """Collects partial images; of long runs evenly spaced steps, at most 64 of them, the last among them."""

    def __init__(self) -> None:
        self._batches: list[dict[int, Tensor]] = []

    def add(self, partial: Partial) -> None:
        """Take in what is known after a step."""
        progress = partial.progress
        if progress.step == 0:
            self._batches.append({})
        every = -(-progress.steps // _MOST)
        if (progress.steps - 1 - progress.step) % every == 0:
            # Eight bits are what will be shown; float32 would take four times the memory.
            shown = ((partial.preview().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
            self._batches[-1][progress.step] = shown.cpu()

    def save(self, path: Path, labels_B: Tensor, columns: int | None, scale: int | None) -> int:
        """Write a .gif file, or a folder with one PNG a step; whole or not at all. Returns how many frames."""
        frames = {
            step: grid(torch.cat([batch[step] for batch in self._batches]) / 127.5 - 1, labels_B, columns, scale)
            for step in self._batches[0]
        }
        with written_whole(path) as draft:
            if path.suffix.lower() == ".gif":
                _save_gif(list(frames.values()), draft)
            else:
                for step, frame in frames.items():
                    save_png(frame, draft / f"step_{step:04d}.png")
        return len(frames)


def _save_gif(frames: list[Picture], path: Path) -> None:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    each = round(1000 * _SECONDS / len(frames))
    durations = [each] * len(rest) + [round(1000 * _HOLD)]
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)
