"""An evaluation on disk: figures as JSON, pictures as safetensors, each file whole or not there.

Letters: as in ``arlab.compare.record``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from arlab.compare.record import Evaluation, Shown
from arlab.metrics.figure import Figure
from arlab.runs.files import write_text, written_whole

_PICTURES = {
    "grid_KPCHW": 5,
    "real_KPCHW": 5,
    "strip_SICHW": 5,
    "neighbour_GCHW": 4,
    "nearest_GCHW": 4,
}
_TOLD = "shown"
_INFINITE = "infinite"


def plain(evaluation: Evaluation) -> dict[str, Any]:
    """For a JSON file: each figure with its interval and its protocol."""
    held = {each.name: getattr(evaluation, each.name) for each in dataclasses.fields(Evaluation)}
    for key in ("figures", "tokenizer_figures"):
        held[key] = {name: _plain_figure(figure) for name, figure in held[key].items()}
    return held


def of_plain(held: Mapping[str, Any]) -> Evaluation:
    """An evaluation from what a JSON file holds; what else it holds is passed over.

    Raises:
        KeyError: something is missing.
        TypeError: something is of another type.
    """
    nats = held["nats_by_step"]
    return Evaluation(
        **{
            key: _typed(held[key], str)
            for key in (
                "run",
                "checkpoint",
                "content",
                "ordering",
                "head",
                "tokenizer",
                "tokenizer_sha256",
                "source",
                "measured",
            )
        },
        step=None if held["step"] is None else _typed(held["step"], int),
        figures=_figures(held["figures"]),
        tokenizer_figures=_figures(held["tokenizer_figures"]),
        nats_by_step=None if nats is None else tuple(float(each) for each in _typed(nats, list)),
        tokens_by_step=tuple(_typed(each, int) for each in _typed(held["tokens_by_step"], list)),
        machine=dict(_typed(held["machine"], dict)),
    )


def write_evaluation(evaluation: Evaluation, path: Path, beside: Mapping[str, Any] | None = None) -> None:
    """Write an evaluation as JSON.

    Args:
        evaluation: what was measured.
        path: of the file.
        beside: plain data that is written with it.
    """
    write_text(path, json.dumps({**plain(evaluation), **(beside or {})}, indent=2, allow_nan=False) + "\n")


def read_evaluation(path: Path) -> Evaluation:
    """An evaluation that was written.

    Raises:
        ValueError: the file is missing, damaged, or holds something else.
    """
    try:
        return of_plain(_typed(json.loads(path.read_text(encoding="utf-8")), dict))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: holds no evaluation of a generator (cut off or damaged?)") from error


def write_shown(shown: Shown, path: Path) -> None:
    """Write pictures."""
    # Copies, since pictures may share memory, and not be contiguous.
    tensors = {key: getattr(shown, key).clone(memory_format=torch.contiguous_format) for key in _PICTURES}
    told = json.dumps({"class_names": shown.class_names, "strip_steps": shown.strip_steps})
    with written_whole(path) as draft:
        # One entry, since several are written in any order.
        save_file(tensors, draft, {_TOLD: told})


def read_shown(path: Path) -> Shown:
    """Pictures that were written.

    Raises:
        ValueError: the file is missing, damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {})[_TOLD])
            tensors = {key: file.get_tensor(key) for key in _PICTURES}
        shown = Shown(
            class_names=tuple(_typed(each, str) for each in _typed(told["class_names"], list)),
            strip_steps=tuple(_typed(each, int) for each in _typed(told["strip_steps"], list)),
            **tensors,
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: holds no pictures of a generator (cut off or damaged?)") from error
    counted = (shown.grid_KPCHW, len(shown.class_names)), (shown.strip_SICHW, len(shown.strip_steps))
    fits = all(tensors[key].dim() == dim and tensors[key].dtype == torch.uint8 for key, dim in _PICTURES.items())
    if not fits or any(len(each) != count for each, count in counted):
        raise ValueError(f"{path}: holds no pictures of a generator (cut off or damaged?)")
    return shown


def _plain_figure(figure: Figure) -> dict[str, Any]:
    """As in all JSON files, null where the value is no number; of an infinite one it says beside which it is."""
    held = figure.plain()
    return held | {_INFINITE: str(figure.value)} if math.isinf(figure.value) else held


def _figures(held: object) -> dict[str, Figure]:
    return {name: _figure(_typed(figure, dict)) for name, figure in _typed(held, dict).items()}


def _figure(held: dict[str, Any]) -> Figure:
    figure = Figure.of_plain(held)
    for value in (figure.value, figure.low, figure.high):
        _typed(value, int | float | None)
    # The PSNR of a tokenizer that loses nothing: it is the best there is, not an unknown one.
    return dataclasses.replace(figure, value=float(held[_INFINITE])) if _INFINITE in held else figure


def _typed(value: Any, kind: Any) -> Any:
    """A value of this type.

    Raises:
        TypeError: it is of another.
    """
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind}, got {value!r}")
    return value
