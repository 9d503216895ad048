"""A comparison for TensorBoard: every run a folder beside the others, with curves, pictures and hyperparameters.

Letters: K classes, P pictures of a class, S decoding steps shown, I images followed, B images, C channels, H and W
sides.
"""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from arlab.compare.curves import EVENT_FILES, quiet_tensorboard
from arlab.compare.hyperparameters import Value, hyperparameters
from arlab.compare.record import Member, Row
from arlab.images import Picture, image_grid
from arlab.runs.files import remove, written_whole

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
    from torch.utils.tensorboard.writer import SummaryWriter

_SHOWN_SIDE = 64


def write_tensorboard(rows: Sequence[Row], folder: Path) -> None:
    """Write what ``tensorboard --logdir FOLDER`` shows of a comparison, in place of what was written there before.

    A folder per row, or below it one per seed where a row has several. Each holds the curves of training under the
    names they were logged with; the figures as ``figures/NAME``, those of the tokenizer as ``tokenizer/NAME``; the
    generated images as ``samples/CLASS`` and their steps as ``strip``; and the hyperparameters, for the HParams tab.
    All curves begin at one moment, that of writing, so that the axis of wall time compares times in training.

    Raises:
        ValueError: the folder holds something else.
        OSError: it cannot be written.
    """
    _refuse_others(folder)
    members = [member for row in rows for member in row.members]
    figures = [_figures(member) for member in members]
    settings = hyperparameters(rows)
    begun = time.time()
    with written_whole(folder) as draft, quiet_tensorboard():
        from torch.utils.tensorboard.writer import SummaryWriter

        draft.mkdir()
        described = _description(settings, figures)
        for path, member, own_settings, own_figures in zip(_folders(rows), members, settings, figures, strict=True):
            with SummaryWriter(str(draft / path)) as writer:
                for summary in (described, *_session(own_settings)):
                    writer.file_writer.add_summary(summary)
                _write_curves(writer, member, begun)
                _write_figures(writer, member, own_figures)
                _write_pictures(writer, member)
        # A folder cannot be renamed onto one that holds something.
        remove(folder)


def _refuse_others(folder: Path) -> None:
    """See that nothing is lost when the folder is replaced."""
    files = (path for path in folder.rglob("*") if not path.is_dir()) if folder.is_dir() else iter([folder])
    other = next((path for path in files if path.exists() and not path.match(EVENT_FILES)), None)
    if other is not None:
        raise ValueError(f"out: {folder} is to be replaced, but {other} was not written by arlab compare; move it away")


def _folders(rows: Sequence[Row]) -> Iterator[str]:
    """Where each member's run lies: names that are good for a folder, no two alike."""
    taken: set[str] = set()
    for row in rows:
        words = [re.sub(r"[^\w.+=-]+", "_", word) for word in row.name.split("/")]
        name = "/".join(word for word in words if word.strip(".")) or "run"
        for number, member in enumerate(row.members):
            seed = f"/seed-{number if member.seed is None else member.seed}" if len(row.members) > 1 else ""
            path = next(new for count in itertools.count() if (new := f"{name}{count or ''}{seed}") not in taken)
            taken.add(path)
            yield path


# ---- the HParams tab


def _description(settings: Sequence[Mapping[str, Value]], figures: Sequence[Mapping[str, float]]) -> Summary:
    """Which hyperparameters and figures there are in any run; the tab takes one description for all."""
    from torch.utils.tensorboard.summary import hparams

    values = {key: [each[key] for each in settings if key in each] for own in settings for key in own}
    texts = {key: sorted({str(value) for value in own}) for key, own in values.items() if isinstance(own[0], str)}
    described, _, _ = hparams(
        {key: own[0] for key, own in values.items()}, {k: 0 for own in figures for k in own}, texts
    )
    return described


def _session(settings: Mapping[str, Value]) -> tuple[Summary, Summary]:
    """The hyperparameters of one run, and that it is over."""
    from torch.utils.tensorboard.summary import hparams

    _, opened, closed = hparams(dict(settings), {})
    return opened, closed


def _figures(member: Member) -> dict[str, float]:
    of = member.evaluation
    named = {f"figures/{name}": figure.value for name, figure in of.figures.items()}
    named |= {f"tokenizer/{name}": figure.value for name, figure in of.tokenizer_figures.items()}
    return {name: value for name, value in named.items() if math.isfinite(value)}


# ---- what is told of one run


def _write_curves(writer: SummaryWriter, member: Member, begun: float) -> None:
    for curve in () if member.training is None else member.training.curves:
        for step, seconds, value in zip(curve.steps, curve.seconds, curve.values, strict=True):
            writer.add_scalar(curve.name, value, step, walltime=begun + seconds)


def _write_figures(writer: SummaryWriter, member: Member, figures: Mapping[str, float]) -> None:
    for name, value in figures.items():
        writer.add_scalar(name, value, member.evaluation.step)


def _write_pictures(writer: SummaryWriter, member: Member) -> None:
    shown, step = member.shown, member.evaluation.step
    for name, image_PCHW in zip(shown.class_names, shown.grid_KPCHW, strict=True):
        if len(image_PCHW):
            tag = f"samples/{name}" if name else "samples"
            writer.add_image(tag, _picture(image_PCHW, len(image_PCHW)), step, dataformats="HWC")
    steps, images = shown.strip_SICHW.shape[:2]
    if steps and images:
        writer.add_image(
            "strip", _picture(shown.strip_SICHW.transpose(0, 1).flatten(0, 1), steps), step, dataformats="HWC"
        )


def _picture(image_BCHW: Tensor, columns: int) -> Picture:
    """uint8 images side by side, small ones enlarged."""
    return image_grid(image_BCHW / 127.5 - 1, columns, scale=max(1, _SHOWN_SIDE // int(image_BCHW.shape[-2])))
