"""What a comparison is about to do, as a table and in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from arlab.cli.compare_plan import PlannedMember, PlannedRow
from arlab.cli.summary import say
from arlab.compare.measurement import Measurement, in_words
from arlab.features.classifier import shipped
from arlab.runs.folder import RunFolder


def show_plan(console: Console, plan: Sequence[PlannedRow], measurement: Measurement) -> None:
    """Print every run with its state, its length and its tokenizer, and how they will be measured."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("row", "seed", "run", "state", "steps", "tokenizer"):
        table.add_column(heading, justify="right" if heading == "steps" else "left", overflow="fold")
    for row in plan:
        for number, member in enumerate(row.members):
            first = number == 0
            cells = [
                row.name if first else "",
                "" if member.seed is None else str(member.seed),
                _place(member),
                "finished" if member.named is not None else _state(member.run),
                "" if row.steps is None else f"{row.steps:,}",
                _tokenizer(row) if first else "",
            ]
            table.add_row(*map(Text, cells))
    console.print(table)
    say(console, f"measured: {_measured(measurement, plan[0].facts.channels)}")


def _measured(how: Measurement, channels: int) -> str:
    network = shipped(channels) if how.network is None else how.network
    count = "as many generated as there are" if how.num_images is None else f"{how.num_images} generated images and the"
    seen = f"in the features of {network.name} {network.weights_hash[:8]}"
    return f"{count} {how.split.value} images, {seen}; {in_words(how.sampler.guidance)}, seed {how.seed}"


def _place(member: PlannedMember) -> str:
    """The key of a run; its folder is the experiment's. A run that was named is the row: here stands its file."""
    if member.named is not None or member.run is None:
        return "" if member.named is None else member.named.name
    return member.run.key


def _state(run: RunFolder | None) -> str:
    if run is not None and run.finished:
        return "finished"
    return "interrupted" if run is not None and run.last.is_file() else "to train"


def _tokenizer(row: PlannedRow) -> str:
    return row.tokenizer_name if row.tokenizer is None else f"{row.tokenizer_name} ({_state(row.tokenizer)})"
