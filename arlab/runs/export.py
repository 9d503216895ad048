"""A trained model as a folder without pickles: weights as safetensors, everything else as JSON.

    model.safetensors       the model's weights (the averaged ones where there are any)
    tokenizer.safetensors   those of a generator's frozen tokenizer
    arlab.json              format, spec of the model and its data, data facts, versions
    README.md               a card for people and model hubs (``arlab.runs.card``)
    config.yaml             of an imported generator: what trains it on (``arlab.runs.beside``)

The folder is a RUN like any other: ``arlab sample``, ``arlab.load`` and ``tokenizer:`` keys take it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from arlab.plugins import FOLDER
from arlab.runs import resolve
from arlab.runs.beside import CONFIG_FILE, configuration
from arlab.runs.card import CARD_FILE, card, measured
from arlab.runs.checkpoint import FORMAT, KEY, sound
from arlab.runs.files import written_whole
from arlab.runs.resolve import EXPORT_FILE

MODEL_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.safetensors"


def export(run: str | Path, out: str | Path, *, name: str | None = None) -> Path:
    """Write the model of a RUN to a new folder, whole or not at all.

    Args:
        run: its name.
        out: the folder.
        name: what the card calls it: OWNER/NAME on a hub; by default the folder's name.

    Raises:
        ValueError: there is no such run, or ``out`` is there already and not an empty folder.
    """
    refuse_taken(Path(out))
    held, path = resolve.read(run), resolve.resolve(run)
    # On a hub nobody's own folders are told; there it is one called as the repository.
    config = configuration(path, Path(out).as_posix() if name is None else name.rpartition("/")[2])
    called = name or Path(out).resolve().name
    figures = measured(path)
    try:
        told = card(held, name=called, figures=figures, trains_on=config is not None)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{run}: what it tells of its model is not as arlab writes it ({error})") from error
    return write(held, Path(out), {CARD_FILE: told} | ({} if config is None else {CONFIG_FILE: config}))


def refuse_taken(out: Path) -> None:
    """See that a folder is new or empty.

    Raises:
        ValueError: it is not.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"out: {out} exists and is not an empty folder; name another")


def write(checkpoint: Mapping[str, Any], out: Path, beside: Mapping[str, str] | None = None) -> Path:
    """Write what a checkpoint holds of a model to a new or empty folder, whole or not at all.

    Args:
        checkpoint: its ``state_dict`` and the entry under ``KEY``, with the tokenizer's weights of a generator.
        out: the folder.
        beside: further files, text by name.
    """
    entry = dict(checkpoint[KEY])
    tokenizer = entry.pop("tokenizer", None)
    entry["versions"] = {name: version(name) for name in ("torch", "lightning")}
    with written_whole(out) as draft:
        draft.mkdir()
        _save(checkpoint["state_dict"], draft / MODEL_FILE)
        if tokenizer is not None:
            _save(tokenizer["state_dict"], draft / TOKENIZER_FILE)
        (draft / EXPORT_FILE).write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for name, text in (beside or {}).items():
            (draft / name).write_text(text, encoding="utf-8")
    return out


def read(folder: Path) -> dict[str, Any]:
    """An exported model in the form of a checkpoint.

    Raises:
        ValueError: a file is missing or broken, or written in a newer format.
    """
    with _told(folder):
        entry, weights = _entry(folder), load_file(folder / MODEL_FILE)
        if (folder / TOKENIZER_FILE).is_file():
            entry["tokenizer"] = {"state_dict": load_file(folder / TOKENIZER_FILE)}
    return {"state_dict": weights, KEY: entry}


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """As ``read``, but of an exported generator no weights but its tokenizer's.

    Raises:
        ValueError: a file is missing or broken, or written in a newer format.
    """
    if not (folder / TOKENIZER_FILE).is_file():
        return read(folder)
    with _told(folder):
        entry = _entry(folder) | {"tokenizer": {"state_dict": load_file(folder / TOKENIZER_FILE)}}
    return {"state_dict": {}, KEY: entry}


def _entry(folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((folder / EXPORT_FILE).read_text(encoding="utf-8"))
    if not (isinstance(entry, dict) and sound(entry)):
        raise ValueError(f"{folder}: not a readable export, its {EXPORT_FILE} is not as arlab writes it")
    if entry["format"] > FORMAT:
        raise ValueError(f"{folder}: written in format {entry['format']} by arlab {entry['version']}; update arlab")
    # Of a folder that may come from anybody nothing is executed but what lies among the user's own plugins.
    for plugin in entry.get("plugins", ()):
        plugin["path"] = f"{FOLDER}/{Path(plugin['path']).name}"
    return entry


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What cannot be read is told by its folder."""
    try:
        yield
    except (OSError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a readable export ({error})") from error


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    kept, seen = {}, set[int]()
    for name, value in state.items():
        whole, place = value.detach().contiguous(), value.untyped_storage().data_ptr()
        # Tied weights become two copies: the format refuses tensors that share memory.
        kept[name] = whole.clone() if place in seen else whole
        seen.add(place)
    save_file(kept, path)
