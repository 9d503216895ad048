"""The configuration beside an imported generator, which trains it on: it names the folder it lies in."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import yaml

CONFIG_FILE = "config.yaml"


def configuration(path: Path, folder: str) -> str | None:
    """What lies beside an export, for the same files in another folder; None where there is none.

    Args:
        path: an export, or a checkpoint, which has none.
        folder: the other.

    Raises:
        ValueError: it cannot be read.
    """
    file = path / CONFIG_FILE
    if not file.is_file():
        return None
    try:
        text = file.read_text(encoding="utf-8")
        tree: Any = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: not a readable configuration; mend it, or move it away") from error
    options = _below(tree, "model", "init_args")
    start = _below(options, "initialisation", "init_args")
    former = start.get("run")
    if not isinstance(former, str):
        return text
    start["run"] = folder
    if options.get("tokenizer") == former:
        options["tokenizer"] = folder
    comments = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True))
    header = "".join(comments).replace(f"{former}/{CONFIG_FILE}", f"{folder}/{CONFIG_FILE}")
    return header + yaml.safe_dump(tree, sort_keys=False, width=120)


def _below(tree: Any, *keys: str) -> dict[str, Any]:
    """What lies in a tree under these keys; nothing where there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}
