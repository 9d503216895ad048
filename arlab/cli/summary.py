"""What a run leaves to read: a summary file and a table."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import lightning as L
import torch
from rich import box
from rich.console import Console
from rich.table import Table

import arlab
from arlab.callbacks.run_checkpoints import RunCheckpoints
from arlab.runs.folder import RunFolder


def summarise(
    part: str, title: str, folder: RunFolder, trainer: L.Trainer, checkpoints: RunCheckpoints
) -> dict[str, Any]:
    """Everything worth knowing of a finished run, as plain data.

    Figures are those of best.ckpt, which is what samples and later evaluations use.
    """
    model = trainer.lightning_module
    device = trainer.strategy.root_device
    return {
        "part": part,
        "experiment": title,
        "key": folder.key,
        "figures": checkpoints.best_figures,
        "best_step": checkpoints.best_step,
        "last_figures": checkpoints.figures,
        "steps": trainer.global_step,
        "seconds": round(checkpoints.seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "processes": trainer.world_size,
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "versions": {
            "arlab": arlab.__version__,
            "torch": torch.__version__,
            "lightning": L.__version__,
            "python": platform.python_version(),
        },
    }


def show_run(console: Console, stages: Sequence[tuple[RunFolder, Mapping[str, Any]]]) -> None:
    """The figures of each stage, and where the pictures and the run are."""
    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("stage")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for folder, summary in stages:
        figures = {name.removeprefix("val/"): value for name, value in summary["figures"].items()}
        if "nats_per_token" in figures:
            del figures["loss"]  # the same figure under the name that checkpoints are chosen by
        rows = {name: _number(value) for name, value in figures.items()}
        rows |= {"parameters": f"{summary['parameters']:,}", "steps": f"{summary['steps']:,}"}
        if summary["best_step"] not in (0, summary["steps"]):
            rows["best at step"] = f"{summary['best_step']:,}"
        rows["minutes"] = f"{summary['seconds'] / 60:.1f}"
        for number, (name, value) in enumerate(rows.items()):
            table.add_row(summary["part"] if number == 0 else "", name, value)
        if folder is not stages[-1][0]:
            table.add_section()
    console.print(table)
    folder, summary = stages[-1]
    best = folder.path / "samples" / f"step-{summary['best_step']:06d}.png"
    picture = best if best.is_file() else folder.newest_sample
    if picture is not None:
        say(console, f"samples: {picture}")
    say(console, f"run: {folder.path}")


def show_figures(console: Console, figures: Mapping[str, float]) -> None:
    """A table of the figures of an evaluation."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, _number(value))
    console.print(table)


def say(console: Console, line: str) -> None:
    """One line as it is: not wrapped, nothing in it interpreted."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
