from __future__ import annotations

import torch

from arlab.images import to_uint8


def test_intensities_are_those_of_a_file() -> None:
    image = torch.tensor([-3.0, -1.0, 0.0, 1 / 255, 1.0, 1.5])
    assert to_uint8(image).tolist() == [0, 0, 128, 128, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(every / 127.5 - 1), every)
