"""Training a generator from cached tokens against training it on images: python -m tests.benchmarks.cached_training.

The generator of experiments/fashion/raster.yaml with an untrained tokenizer, in turns, on two kinds of images:

* still: Fashion-MNIST, 28 x 28 gray, which a run tokenises once when it begins; a cache saves that beginning.
* augmented: 64 x 64 colour pictures cut at random to 32 x 32 and mirrored, as emoji are; without a cache each is cut
  and encoded in every step, by the experiment's small encoder and by one four times as wide.

A step is what lies between the beginnings of two: batch, forward, backward, update. Medians of each arm and round, by
the clock and by the processors' time, which a busy machine disturbs less; the beginning is what ``fit`` takes before
its first step.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from arlab.configurable import from_spec, to_plain
from arlab.data.arrays import ImageArrays
from arlab.data.cached import CachedTokens
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.loaders import LoadedData
from arlab.data.transforms import RandomCrop, RandomFlip
from arlab.generators.generator import Generator
from arlab.tokenizers.caching import Caching
from tests.benchmarks.training_overhead import StepTimes, experiment

_NUM_IMAGES = 2048


class Times(StepTimes):
    """Processor seconds of steps, and clock seconds from the call of ``fit`` to its first step, as well."""

    def __init__(self) -> None:
        super().__init__()
        self.called = time.perf_counter()
        self.processor: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        super().on_train_batch_start()
        self.processor.append(time.process_time())

    @property
    def beginning(self) -> float:
        return self.starts[0] - self.called

    @property
    def clock_step(self) -> float:
        return statistics.median(self.steps)

    @property
    def processor_step(self) -> float:
        return statistics.median(b - a for a, b in zip(self.processor, self.processor[1:], strict=False))


def still(folder: Path) -> LoadedData:
    return FashionMNIST()


def augmented(folder: Path) -> LoadedData:
    file = folder / "pictures.npz"
    if not file.exists():
        rng = np.random.default_rng(0)
        # Squares of 8 x 8 equal pixels: what is cut out of them costs as much as of any picture.
        small = rng.integers(0, 256, (_NUM_IMAGES, 8, 8, 3), dtype=np.uint8)
        np.savez(file, x=small.repeat(8, 1).repeat(8, 2), y=np.arange(_NUM_IMAGES) % 9)
    return ImageArrays(file=str(file), image_size=(32, 32), transforms=[RandomCrop(), RandomFlip()])


def build(data: LoadedData, channels: int) -> Generator:
    """The experiment's generator, on an encoder of this width."""
    torch.manual_seed(0)
    model = copy.deepcopy(experiment()["model"])
    tokenizer = model["init_args"]["tokenizer"]["init_args"]
    tokenizer["facts"] = to_plain(data.facts)
    tokenizer["autoencoder"]["init_args"]["channels"] = channels
    return from_spec(model, Generator)


def arm(data: LoadedData, channels: int, steps: int, folder: Path) -> Times:
    """A Trainer without anything that happens now and then."""
    model = build(data, channels)
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[times := Times()],
        limit_val_batches=0,
        **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    )
    times.called = time.perf_counter()
    trainer.fit(model, datamodule=data)
    return times


@dataclass(frozen=True)
class Case:
    """What is trained on."""

    name: str
    make: Callable[[Path], LoadedData]
    views: int
    channels: int = 16


CASES = (Case("still", still, 1), Case("augmented", augmented, 4), Case("augmented, wide", augmented, 1, channels=64))


def compare(case: Case, steps: int, rounds: int, folder: Path) -> None:
    """Print medians of both ways and their ratio."""
    data = case.make(folder)
    caching = Caching(build(data, case.channels).tokenizer.module, data, "untrained", views=case.views)
    out = folder / case.name
    start = time.perf_counter()
    made = caching.write(out, lambda part, done, total: None)
    seconds = time.perf_counter() - start
    images = sum(part.images * part.views for part in made.parts.values())
    held = f"{images / seconds:.0f} images/s, {made.size / 2**20:.2f} MiB"
    print(f"{case.name}: {case.views} views written in {seconds:.1f} s, {held}")
    clock, processor = [], []
    for number in range(rounds):
        images_arm = arm(case.make(folder), case.channels, steps, folder)
        tokens_arm = arm(CachedTokens(folder=str(out)), case.channels, steps, folder)
        clock.append(images_arm.clock_step / tokens_arm.clock_step)
        processor.append(images_arm.processor_step / tokens_arm.processor_step)
        for what, times in (("images", images_arm), ("tokens", tokens_arm)):
            print(
                f"  round {number}, {what}: a step {1000 * times.clock_step:.1f} ms, {1000 * times.processor_step:.1f} "
                f"ms of processors; beginning {times.beginning:.2f} s"
            )
    medians = f"{statistics.median(clock):.2f} by the clock, {statistics.median(processor):.2f} by the processors' time"
    print(f"  median ratio of a step on images to one on tokens: {medians}")


def main() -> None:
    """All cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            compare(case, arguments.steps, arguments.rounds, Path(scratch))


if __name__ == "__main__":
    main()
