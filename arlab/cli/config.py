"""Configuration as a tree of plain data: reading files with their bases, and laying one tree over another.

A class stands in a tree as its name, or as ``{class_path: NAME, init_args: {...}}``. Options beside ``class_path``
mean the same as options under ``init_args``, and options without a class go to the class that stands there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from arlab.cli.plain_yaml import plain_yaml

Tree = dict[str, Any]
_DEPTH = 50
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def read(path: str | Path, dropped: list[str]) -> Tree:
    """A configuration file laid over its bases (``base: [FILE, ...]``).

    Bases are looked for beside the file, then in the folders above it, then in the working directory.

    Args:
        path: the file.
        dropped: collects a line for each class that replaced another one which had options.

    Raises:
        ValueError: a file is missing, includes itself, or is not a YAML mapping.
    """
    return _read(Path(path), (), dropped)


def _read(path: Path, above: tuple[Path, ...], dropped: list[str]) -> Tree:
    if path.resolve() in above:
        chain = " -> ".join(str(each) for each in (*above, path.resolve()))
        raise ValueError(f"base: a file includes itself: {chain}")
    own = _load(path)
    bases = own.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise ValueError(f"{path}: base: expected a file or a list of files, got {bases!r}")
    tree: Tree = {}
    for base in bases:
        found = find(base, [path.parent], cwd_first=False)
        if found is None:
            raise ValueError(f"{path}: base: no file {base!r} beside it, above it or in the working directory")
        tree = overlay(tree, _read(found, (*above, path.resolve()), dropped), dropped)
    return overlay(tree, own, dropped)


def _load(path: Path) -> Tree:
    if path.is_dir():
        raise ValueError(f"config: {path} is a folder; name a file in it")
    if not path.exists():
        raise ValueError(f"config: no such file: {path}")
    try:
        tree = plain_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected keys and values, got {type(tree).__name__}")
    return tree


def find(name: str, beside: Iterable[Path], *, cwd_first: bool = True) -> Path | None:
    """A path as it stands, or below one of these folders, or below a folder above them; None where there is none."""
    path = Path(name)
    folders = [folder.resolve() for folder in beside]
    above = [each / path for each in [*folders, *(parent for folder in folders for parent in folder.parents)]]
    for candidate in [path, *above] if cwd_first else [*above, path]:
        if candidate.exists():
            return candidate
    return None


def from_dotted(key: str, value: object) -> Tree:
    """``a.b.c = value`` as a tree.

    Raises:
        ValueError: no option lies that deep.
    """
    if key.count(".") > _DEPTH:
        raise ValueError(f"--{key[:100]}...: no option lies that deep")
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def overlay(old: Tree, new: Tree, dropped: list[str]) -> Tree:
    """``new`` over ``old``: mappings are merged, everything else is replaced.

    A class that replaces another starts from its own defaults; what that drops is told in ``dropped``.
    """
    merged = _merge(_normal(old), _normal(new), "", dropped)
    assert isinstance(merged, dict)
    return merged


def _normal(node: Any) -> Any:
    """Options always under ``init_args`` where a class is named, and never where none is."""
    if isinstance(node, list):
        return [_normal(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = node.get("init_args")
    if not (inner is None or isinstance(inner, dict)):
        raise ValueError(f"init_args of {node.get('class_path')}: expected options, got {inner!r}")
    options = {str(k): _normal(v) for k, v in node.items() if k not in ("class_path", "init_args")}
    options |= {str(k): _normal(v) for k, v in inner.items()} if isinstance(inner, dict) else {}
    if "class_path" in node:
        return {"class_path": node["class_path"], "init_args": options}
    # A class that stands under the init_args of none is that class.
    return _normal(options) if "class_path" in options else options


def _merge(old: Any, new: Any, at: str, dropped: list[str]) -> Any:
    if isinstance(old, str) and isinstance(new, dict) and _NAME.fullmatch(old):
        old = {"class_path": old, "init_args": {}}
    if old is None and isinstance(new, dict) and "class_path" not in new:
        # Nothing there yet to extend: lists that new options would be appended to start empty.
        old = {}
    if not isinstance(old, dict):
        if isinstance(old, list) and old and isinstance(new, dict) and "class_path" not in new:
            # Options for a list of components go to its last one, as on jsonargparse's command lines.
            return [*old[:-1], _merge(old[-1], new, at, dropped)]
        return new
    if isinstance(new, str) and "class_path" in old and _same(old["class_path"], new):
        return old
    if not isinstance(new, dict):
        return _replaced(old, new, at, dropped)
    if "class_path" in new:
        if not _same(old.get("class_path"), new["class_path"]):
            return _replaced(old, new, at, dropped)
        return {**new, "init_args": _merge(_options(old), _options(new), at, dropped)}
    if "class_path" in old:
        return {**old, "init_args": _merge(_options(old), new, at, dropped)}
    merged = dict(old)
    for key, value in new.items():
        if key.endswith("+"):
            kept = merged.get(key[:-1]) or []
            merged[key[:-1]] = [*(kept if isinstance(kept, list) else [kept]), value]
        else:
            merged[key] = _merge(old.get(key), value, f"{at}.{key}" if at else key, dropped)
    return merged


def _options(node: Tree) -> Tree:
    """Those of a class; none where what stands for its name is itself a mapping that was laid over."""
    options = node.get("init_args")
    return options if isinstance(options, dict) else {}


def _replaced(old: Tree, new: Any, at: str, dropped: list[str]) -> Any:
    options = _options(old) if "class_path" in old else old
    if options:
        names = ", ".join(f"{key}={_short(value)}" for key, value in options.items())
        dropped.append(f"{at}: {_short(old)} -> {_short(new)}; dropped: {names}")
    return new


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value["class_path"]).rpartition(".")[2] if "class_path" in value else "its default"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return str(value)


def _same(one: object, other: object) -> bool:
    return one is not None and str(one).rpartition(".")[2] == str(other).rpartition(".")[2]


def experiment_name(paths: Sequence[Path]) -> str | None:
    """The experiment a configuration file stands for (its path without ``experiments/`` and suffix), if any."""
    if not paths:
        return None
    parts = paths[0].with_suffix("").parts
    if "experiments" in parts:
        last = len(parts) - parts[::-1].index("experiments")
        return "/".join(parts[last:])
    return paths[0].stem
