"""The protocol a figure was measured under; figures of different protocols are not comparable."""

from __future__ import annotations

import dataclasses
import json

import torch


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How images were made and measured; None where a setting does not apply (real images, no feature network).

    Attributes:
        split: the part of the data compared with.
        num_images: how many images were measured.
        feature_network: its name.
        feature_hash: SHA-256 of its weights.
        guidance_scale: 1 is none.
        temperature: 0 takes the most likely token.
        top_k: 0 is all tokens.
        top_p: 1 is all tokens.
        seed: of the first generated image, or of the choice of images.
        ema: averaged weights were used.
        dtype: of the model's arithmetic.
        device: the model ran on.
        torch_version: of both.
        num_real: how many real images they were compared with.
        data: name and digest of the data set the real images are of.
        batch_size: images at a time, where speed or memory was measured.
        guidance: the schedule of the guidance scale, where it is not one number.
        interval: how the interval was taken.
        machine: what speed was measured on.
        image_size: what generated images were brought to, and from what, where they were.
    """

    split: str
    num_images: int | None = None
    feature_network: str | None = None
    feature_hash: str | None = None
    guidance_scale: float | None = None
    temperature: float | str | None = None
    top_k: int | str | None = None
    top_p: float | None = None
    seed: int | None = None
    ema: bool | None = None
    dtype: str | None = None
    device: str | None = None
    torch_version: str = str(torch.__version__)
    num_real: int | None = None
    data: str | None = None
    batch_size: int | None = None
    guidance: str | None = None
    interval: str | None = None
    machine: str | None = None
    image_size: str | None = None

    def to_json(self) -> str:
        """One JSON object, keys in the order above."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    def differences(self, other: Protocol) -> list[str]:
        """The settings in which two protocols differ, as 'key: mine against theirs'."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return [f"{key}: {mine[key]} against {theirs[key]}" for key in mine if mine[key] != theirs[key]]
