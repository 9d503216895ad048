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
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: not a readable configuration; mend it, or move it away") from error
    former = _former(tree)
    if former is None:
        return text
    comments = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True))
    header = "".join(comments).replace(f"{former}/{CONFIG_FILE}", f"{folder}/{CONFIG_FILE}")
    return header + yaml.safe_dump(_renamed(tree, former, folder), sort_keys=False, width=120)


def _former(tree: Any) -> str | None:
    """The folder it names: where its weights begin."""
    for key in ("model", "init_args", "initialisation", "init_args", "run"):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, str) else None


def _renamed(node: Any, former: str, folder: str) -> Any:
    """The same, with the other folder wherever the former one is named."""
    if isinstance(node, dict):
        return {key: _renamed(value, former, folder) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(item, former, folder) for item in node]
    return folder if node == former else node
