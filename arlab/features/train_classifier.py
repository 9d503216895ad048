"""Trains a feature network on the images of a data module: ``python -m arlab.features.train_classifier --out FILE``.

What ships with arlab was made by

    python -m arlab.features.train_classifier --out fashion_classifier.safetensors
    python -m arlab.features.train_classifier --out emoji_classifier.safetensors --data Emoji --widths 20 40 72

Letters: N training images, B batch, C image channels, H and W image sides.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import arlab
from arlab.data.data import Part
from arlab.data.loaders import LoadedData, Split
from arlab.data.stream import Images
from arlab.discovery import named
from arlab.features.classifier import FeatureClassifier, agreement, save_classifier
from arlab.images import to_uint8

_BATCH = 128
_LEARNING_RATE = 4e-3
_WEIGHT_DECAY = 0.05
_SHIFT = 2


def train(
    images: Images,
    *,
    steps: int,
    seed: int,
    name: str = "fashion_classifier",
    num_classes: int = 10,
    class_names: Sequence[str] = (),
    widths: Sequence[int] = (32, 64, 128),
    report_every: int = 100,
) -> FeatureClassifier:
    """A classifier trained by cross-entropy on randomly mirrored and shifted images, the same for the same seed.

    Its weights are rounded to float16, the precision they are saved in.

    Args:
        images: what it learns.
        steps: of optimisation.
        seed: of weights, batches and augmentation.
        name: what protocols call it.
        num_classes: of the images.
        class_names: theirs, in label order; empty: not known.
        widths: channels after each of its blocks.
        report_every: how many steps lie between two lines of progress.
    """
    channels = int(images.pixel_NCHW.shape[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FeatureClassifier(
            name=name,
            channels=channels,
            num_classes=num_classes,
            widths=tuple(widths),
            class_names=tuple(class_names),
        )
    fill = background(images)
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for step in range(1, steps + 1):
        row_B = torch.randperm(len(images), generator=rng)[:_BATCH]
        pixel_BCHW = augment(images.pixel_NCHW[row_B], rng, fill)
        loss = F.cross_entropy(network(pixel_BCHW).logits_BK, images.label_N[row_B])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % report_every == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    return network.half().float().requires_grad_(False).eval()


def background(images: Images) -> int:
    """The most frequent intensity of the upper left corner: 0 for things on black, 255 for things on white."""
    return int(images.pixel_NCHW[:, :, 0, 0].flatten().mode().values)


def augment(pixel_BCHW: Tensor, rng: torch.Generator, fill: int = 0) -> Tensor:
    """Each image mirrored with probability 1/2 and shifted by up to two pixels each way, the border filled."""
    B, _, H, W = pixel_BCHW.shape
    mirrored_B111 = torch.rand(B, 1, 1, 1, generator=rng) < 0.5
    padded_BCHW = F.pad(torch.where(mirrored_B111, pixel_BCHW.flip(3), pixel_BCHW), [_SHIFT] * 4, value=fill)
    y_B, x_B = torch.randint(0, 2 * _SHIFT + 1, (2, B), generator=rng)
    row_B1H1 = (y_B[:, None] + torch.arange(H))[:, None, :, None]
    column_B11W = (x_B[:, None] + torch.arange(W))[:, None, None, :]
    channel_1C11 = torch.arange(pixel_BCHW.shape[1])[None, :, None, None]
    return padded_BCHW[torch.arange(B)[:, None, None, None], channel_1C11, row_B1H1, column_B11W]


def eight_bit(*parts: Part) -> Images:
    """All images of some parts, one after the other, with 256 intensities."""
    batches = [part.batch(row_B, known=False) for part in parts for row_B in torch.arange(len(part)).split(_BATCH)]
    return Images(torch.cat([to_uint8(batch.image) for batch in batches]), torch.cat([each.label for each in batches]))


def main(argv: list[str] | None = None) -> None:
    """Train on the training and validation images, print the accuracy on the test images, write the weights."""
    parser = argparse.ArgumentParser(prog="python -m arlab.features.train_classifier", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write; it names the network")
    parser.add_argument(
        "--data",
        nargs="+",
        default=["FashionMNIST"],
        metavar="CLASS",
        help="a data module, then its KEY=VALUE",
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128], help="channels after each block")
    parser.add_argument("--steps", type=int, default=1300, help="optimisation steps of 128 images")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and augmentation")
    options = parser.parse_args(argv)
    try:
        data = named(options.data, LoadedData, "data")
        images = eight_bit(data.part(Split.TRAIN), data.part(Split.VALIDATION))
        test = eight_bit(data.part(Split.TEST))
        if data.facts.num_classes < 2:
            raise ValueError(f"data: {data.facts.source} has no classes to tell apart")
    except ValueError as error:
        parser.error(str(error))

    network = train(
        images,
        steps=options.steps,
        seed=options.seed,
        name=options.out.stem,
        num_classes=data.facts.num_classes,
        class_names=data.facts.class_names,
        widths=options.widths,
    )
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
