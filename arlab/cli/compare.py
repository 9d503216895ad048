"""``arlab compare``: experiments and runs side by side, trained where they are not, measured in one way."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from arlab.cli.parser import Parser
from arlab.cli.sampling_options import add_sampling, check_sampling
from arlab.compare.budget import Budget, parse_budget
from arlab.ranges import require
from arlab.runs.files import refuse_unwritable
from arlab.runs.folder import RunFolder

if TYPE_CHECKING:
    from rich.console import Console

    from arlab.cli.compare_plan import PlannedRow

_EXAMPLES = """\
  arlab compare experiments/fashion/raster.yaml experiments/fashion/next_scale.yaml --seeds 3
  arlab compare experiments/fashion/raster.yaml experiments/fashion/raster.yaml+overlays/flow.yaml --budget flops=1e15
  arlab compare runs/fashion/raster runs/fashion/masked --guidance_scale 2
  arlab compare A.yaml B.yaml --budget steps=2000 --plan"""
_MOST_SEEDS = 1000
_MOST_JOBS = 256
_SPLITS = ("train", "validation", "test")
_FOLDER = "comparisons"
_MARK = ".comparison"
_OWN = (_MARK, "logs", "rows")
_KEY_LENGTH = 8


def parser() -> Parser:
    """The options of the command."""
    options = Parser(
        command="compare",
        description="Train what is not trained, measure all in one way, write a report: table, curves, pictures.\n"
        "The same command goes on where it was stopped.",
        examples=_EXAMPLES,
    )
    options.add_argument(
        "rows",
        nargs="+",
        metavar="EXPERIMENT|RUN",
        help="FILE.yaml, FILE.yaml+OVERLAY.yaml, or a run folder, experiment folder, checkpoint or export",
    )
    options.add_argument(
        "--with",
        dest="shared",
        action="append",
        default=[],
        metavar="FILE",
        help="a configuration laid over every experiment; may be repeated",
    )
    options.add_argument(
        "--budget",
        metavar="steps=N|flops=X",
        help="train every experiment so many steps, or as many as take so many operations (as long as each asks for)",
    )
    options.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="train each with seeds 0 .. N-1 (%(default)s)"
    )
    options.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time (%(default)s)")
    options.add_argument(
        "--split", choices=_SPLITS, default="validation", help="the part of the data to measure with (%(default)s)"
    )
    options.add_argument(
        "--num_images", type=int, metavar="N", help="to generate (as many as the part has, at most 10000)"
    )
    options.add_argument(
        "--network",
        nargs="+",
        metavar="WORD",
        help="a feature network, then its KEY=VALUE (FashionClassifier for gray images, EmojiClassifier for RGB)",
    )
    add_sampling(options)
    options.add_argument("--batch_size", type=int, default=64, metavar="N", help="images at a time (%(default)s)")
    options.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of all randomness in measuring; training N adds N (%(default)s)",
    )
    options.add_argument(
        "--device", metavar="DEVICE", help="to measure on: cpu, cuda, ... (the accelerator where there is one)"
    )
    options.add_argument(
        "--features", type=Path, metavar="FOLDER", help="where features of real images are kept (runs/features)"
    )
    options.add_argument("--plan", action="store_true", help="print what would be trained and measured, and stop")
    options.add_argument("--out", type=Path, metavar="FOLDER", help=f"of the report ({_FOLDER}/KEY)")
    options.add_plugins()
    return options


def main(argv: list[str]) -> int:
    """Run the command."""
    options = parser().read(argv)
    budget = _check(options)

    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from arlab.cli.quiet import quiet
    from arlab.discovery import discover
    from arlab.plugins import load_named

    quiet()
    discover()
    load_named(options.plugins)
    try:
        return _run(options, budget, f"arlab compare {shlex.join(argv)}")
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error


def _check(options: argparse.Namespace) -> Budget | None:
    """See that numbers are in range, before anything is read; the budget."""
    require("seeds", options.seeds, at_least=1, at_most=_MOST_SEEDS)
    require("jobs", options.jobs, at_least=1, at_most=_MOST_JOBS)
    check_sampling(options)
    if options.features is not None:
        refuse_unwritable("features", options.features / "any")
    if any(not word.strip() for word in options.rows):
        raise ValueError("rows: one is empty; name an experiment or a run")
    twice = next((word for word in options.rows if options.rows.count(word) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice}: is a row already; name it once (--seeds N trains an experiment N times)")
    return None if options.budget is None else parse_budget(options.budget)


def _run(options: argparse.Namespace, budget: Budget | None, command: str) -> int:
    from rich.console import Console

    from arlab.cli.compare_plan import Wish, make_plan
    from arlab.cli.compare_rows import measured_rows, settings
    from arlab.cli.compare_view import show_plan
    from arlab.cli.evaluate_generator import measurement_of
    from arlab.cli.summary import say
    from arlab.compare.report import write_report
    from arlab.compare.tensorboard import write_tensorboard
    from arlab.compare.terminal import show_table
    from arlab.runs.lock import locked
    from arlab.trained import find_device

    measurement = measurement_of(options)
    find_device(options.device)
    wish = Wish(
        arguments=tuple(options.rows),
        shared=tuple(options.shared),
        plugins=tuple(options.plugins),
        seeds=options.seeds,
        budget=budget,
        measurement=measurement,
    )
    key = [wish.arguments, wish.shared, str(budget), wish.seeds, settings(measurement)]
    out = _folder(options.out, key)
    plan = make_plan(wish)
    console = Console()
    if options.plan:
        show_plan(console, plan, measurement)
        say(console, f"comparison: {out}")
        return 0
    say(console, f"comparison: {out}")
    with locked(out / _MARK, f"out: another arlab compare is at work in {out}"):
        _train(plan, out, options.jobs, console)
        with _stopping():
            rows = measured_rows(plan, measurement, out / "rows", console)
            title = f"{plan[0].facts.source}: {', '.join(row.name for row in rows)}"
            write_report(rows, out, title=title, command=command)
            write_tensorboard(rows, out / "tensorboard")
    show_table(console, rows)
    for what, name in (("report", "report.html"), ("metrics", "metrics.json"), ("tensorboard --logdir", "tensorboard")):
        say(console, f"{what}: {out / name}")
    return 0


def _train(plan: Sequence[PlannedRow], out: Path, at_once: int, console: Console) -> None:
    """Train what is not trained.

    Raises:
        ValueError: a training failed; the others have come to their end.
    """
    from arlab.cli.compare_rows import slug
    from arlab.cli.compare_training import Job, train

    jobs = [
        Job(
            name=f"{row.name}, seed {member.seed}",
            words=member.words,
            log=out / "logs" / f"{slug(row.name)}-{member.seed}.txt",
            tokenizer=row.tokenizer,
        )
        for row in plan
        for member in row.members
        if not member.trained
    ]
    failed = train(jobs, at_once, console)
    if failed:
        told = "; ".join(f"{each.job.name}: {each.error} (log: {each.job.log})" for each in failed)
        raise ValueError(
            f"{len(failed)} of {len(jobs)} trainings failed, so there is nothing to compare yet; "
            f"the same command tries them again: {told}"
        )


def _folder(named: Path | None, key: Sequence[object]) -> Path:
    """Where the report goes: as named, else by what is compared and how, so that the same command finds it again.

    Raises:
        ValueError: something else is there, or it cannot be written.
    """
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:_KEY_LENGTH]
    out = Path(_FOLDER) / digest if named is None else named
    refuse_unwritable("out", out)
    if out.exists():
        if not out.is_dir():
            raise ValueError(f"out: {out} is a file; name a folder")
        if RunFolder(out).config.is_file():
            raise ValueError(f"out: {out} is a run, whose figures would be lost; name another folder")
        if any(out.iterdir()) and not any((out / name).exists() for name in _OWN):
            raise ValueError(f"out: {out} is not empty and holds no comparison; name another folder")
    return out


@contextmanager
def _stopping() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what is being measured; what was measured before is kept."""
    from arlab.runs.interrupted import Interrupted

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    finally:
        signal.signal(signal.SIGTERM, before)
