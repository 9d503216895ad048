"""Trains the feature network of the figures: ``python -m arlab.metrics.train_classifier --out FILE``.

Letters: N training images, B batch, C image channels, H and W image sides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import arlab
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.stream import Images
from arlab.metrics.classifier import FeatureClassifier, save_classifier
from arlab.metrics.generation import agreement

_BATCH = 128
_LEARNING_RATE = 4e-3
_WEIGHT_DECAY = 0.05
_SHIFT = 2


def train(images: Images, *, steps: int, seed: int, report_every: int = 100) -> FeatureClassifier:
    """A classifier trained by cross-entropy on randomly mirrored and shifted images, the same for the same seed.

    Its weights are rounded to float16, the precision they are saved in.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FeatureClassifier()
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for step in range(1, steps + 1):
        row_B = torch.randperm(len(images), generator=rng)[:_BATCH]
        loss = F.cross_entropy(network(augment(images.pixel_NCHW[row_B], rng)).logits_BK, images.label_N[row_B])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % report_every == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    return network.half().float().requires_grad_(False).eval()


def augment(pixel_BCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Each image mirrored with probability 1/2 and shifted by up to two pixels each way, the border filled with 0."""
    B, _, H, W = pixel_BCHW.shape
    mirrored_B111 = torch.rand(B, 1, 1, 1, generator=rng) < 0.5
    padded_BCHW = F.pad(torch.where(mirrored_B111, pixel_BCHW.flip(3), pixel_BCHW), [_SHIFT] * 4)
    y_B, x_B = torch.randint(0, 2 * _SHIFT + 1, (2, B), generator=rng)
    row_B1H1 = (y_B[:, None] + torch.arange(H))[:, None, :, None]
    column_B11W = (x_B[:, None] + torch.arange(W))[:, None, None, :]
    channel_1C11 = torch.arange(pixel_BCHW.shape[1])[None, :, None, None]
    return padded_BCHW[torch.arange(B)[:, None, None, None], channel_1C11, row_B1H1, column_B11W]


def main() -> None:
    """Train on the real training images, print the accuracy on the real test images, write the weights."""
    parser = argparse.ArgumentParser(prog="python -m arlab.metrics.train_classifier", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--steps", type=int, default=1300, help="optimisation steps of 128 images")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and augmentation")
    options = parser.parse_args()

    data = FashionMNIST()
    train_part, validation, test = data.parts.train, data.parts.validation, data.parts.test
    images = Images(
        torch.cat([train_part.pixel_NCHW, validation.pixel_NCHW]), torch.cat([train_part.label_N, validation.label_N])
    )
    network = train(images, steps=options.steps, seed=options.seed)
    accuracy = agreement(network.read(test.pixel_NCHW).logits_BK, test.label_N)
    facts = {
        "arlab_version": arlab.__version__,
        "data": f"{data.facts.source}, {len(images)} training images",
        "seed": str(options.seed),
        "steps": str(options.steps),
        "test_accuracy": f"{accuracy:.4f} on {len(test)} images",
    }
    save_classifier(network, options.out, facts)
    print(f"accuracy on {len(test)} real test images: {accuracy:.4f}")
    print(f"weights {network.weights_hash} in {options.out}")


if __name__ == "__main__":
    main()
