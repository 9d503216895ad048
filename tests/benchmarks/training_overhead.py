"""What Lightning and arlab cost beside a bare PyTorch loop: python -m tests.benchmarks.training_overhead.

Both arms train the generator of experiments/fashion/raster.yaml, with its settings but an untrained tokenizer, on the
same images with the same optimizer and weight average, in turns. The bare loop is what a script would do: index,
forward, backward, step, average. The other arm is what arlab fit does at every step: batches, callbacks (checkpoints
included, none of which falls due), live display, logger. Left out of both are what happens now and then: validations,
sample grids, writing checkpoints.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from arlab.callbacks.interruption import Interruption
from arlab.callbacks.progress import StageProgress
from arlab.callbacks.rng_state import RngState
from arlab.callbacks.run_checkpoints import RunCheckpoints
from arlab.cli.config import read
from arlab.cli.schema import checked
from arlab.configurable import from_spec, to_plain
from arlab.data.fashion_mnist import FashionMNIST
from arlab.discovery import discover
from arlab.generators.averaging import average
from arlab.generators.generator import Generator
from arlab.rng import BatchRng, mix_seed
from arlab.runs.folder import RunFolder

_EXPERIMENT = Path("experiments/fashion/raster.yaml")


@cache
def experiment() -> dict[str, Any]:
    """The experiment's settings; its tokenizer's in the place of the tokenizer's file."""
    discover()
    root = Path(__file__).parents[2]
    tree = read(root / _EXPERIMENT, [])
    options = tree["model"]["init_args"]
    options["tokenizer"] = read(root / options["tokenizer"], [])["model"]
    return checked(tree)


def data_of_experiment() -> FashionMNIST:
    """The images both arms train on."""
    return from_spec(experiment()["data"], FashionMNIST)


def build(data: FashionMNIST) -> Generator:
    """The generator of both arms, with equal weights."""
    torch.manual_seed(0)
    model = experiment()["model"]
    tokenizer = model["init_args"]["tokenizer"]
    told = {**tokenizer, "init_args": {**tokenizer["init_args"], "facts": to_plain(data.facts)}}
    return from_spec({**model, "init_args": {**model["init_args"], "tokenizer": told}}, Generator)


class StepTimes(Callback):
    """Seconds between the beginnings of successive training steps."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.starts.append(time.perf_counter())

    @property
    def steps(self) -> list[float]:
        return [after - before for before, after in zip(self.starts, self.starts[1:], strict=False)]


def lightning_arm(data: FashionMNIST, steps: int, folder: str) -> list[float]:
    """The Trainer as arlab fit sets it up."""
    times = StepTimes()
    checkpoints = RunCheckpoints(RunFolder(Path(folder)))
    options = experiment()["trainer"]
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=TensorBoardLogger(folder),
        callbacks=[
            times,
            RngState(),
            Interruption(checkpoints),
            checkpoints,
            StageProgress("benchmark", Console(file=io.StringIO(), force_terminal=True)),
            LearningRateMonitor(logging_interval="step"),
        ],
        enable_model_summary=False,
        limit_val_batches=0,
        gradient_clip_val=options["gradient_clip_val"],
        log_every_n_steps=options.get("log_every_n_steps", 50),
    )
    trainer.fit(build(data), datamodule=data)
    return times.steps


def bare_arm(data: FashionMNIST, steps: int) -> list[float]:
    """The same model in a plain loop."""
    generator = build(data).train()
    averaged = [parameter.detach().clone() for parameter in generator.parameters()]
    update = average(generator.ema_decay)
    clip = experiment()["trainer"]["gradient_clip_val"]
    config = generator.optimizer.build(generator, steps)
    optimizer, schedule = config["optimizer"], config["lr_scheduler"]["scheduler"]  # type: ignore[index,typeddict-item]
    still = data.still()
    assert still is not None
    batches = list(still)
    tokens_NN = torch.cat([generator.tokenizer.encode(batch.image) for batch in batches])
    labels_N = torch.cat([batch.label for batch in batches])
    times: list[float] = []
    before = time.perf_counter()
    for step, row in enumerate(_rows(len(labels_N), data.batch_size, steps)):
        rng = BatchRng(mix_seed(0, step, 0), len(row))
        loss = generator.objective.loss(generator, tokens_NN[row], labels_N[row], rng, generator.layout)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), clip)
        optimizer.step()
        schedule.step()
        update(averaged, list(generator.parameters()), step)
        after = time.perf_counter()
        times.append(after - before)
        before = after
    return times[1:]


def _rows(count: int, batch: int, steps: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    done = 0
    while True:
        for row in torch.randperm(count, generator=generator).split(batch):
            if len(row) == batch:
                if done == steps:
                    return
                done += 1
                yield row


def main() -> None:
    """Print medians of both arms and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = data_of_experiment()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            bare = statistics.median(bare_arm(data, arguments.steps))
            ours = statistics.median(lightning_arm(data_of_experiment(), arguments.steps, folder))
            ratios.append(ours / bare)
            print(f"round {number}: bare {1000 * bare:.1f} ms, arlab {1000 * ours:.1f} ms, ratio {ratios[-1]:.3f}")
    print(
        f"median ratio {statistics.median(ratios):.3f} ({torch.get_num_threads()} threads, torch {torch.__version__})"
    )


if __name__ == "__main__":
    main()
