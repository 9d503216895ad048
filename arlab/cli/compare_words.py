"""What the arguments of ``arlab compare`` name: experiments, with files laid over them, and runs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arlab.cli.config import find

_SUFFIXES = (".yaml", ".yml")
_JOIN = "+"


@dataclass(frozen=True)
class Asked:
    """One argument.

    Attributes:
        argument: as it was given.
        configs: the files it names, later ones over earlier ones; none of a run.
        shared: files laid over these in every row.
        plugins: Python files that are needed, too.
    """

    argument: str
    configs: tuple[str, ...]
    shared: tuple[str, ...]
    plugins: tuple[str, ...]

    @property
    def added(self) -> str:
        """What the name of the row says beside the experiment's."""
        return "".join(f" + {Path(file).stem}" for file in self.configs[1:])

    def words(self, *more: str) -> tuple[str, ...]:
        """What ``arlab`` is called with to train it."""
        files = [word for file in (*self.configs, *self.shared) for word in ("--config", file)]
        plugins = [word for path in self.plugins for word in ("--plugins", path)]
        return ("fit", *files, *plugins, *more)


def read_argument(argument: str, shared: Sequence[str], plugins: Sequence[str]) -> Asked:
    """What an argument names: FILE.yaml, FILE.yaml+OVERLAY.yaml, or a run.

    Overlays are looked for in the working directory, beside the first file and in the folders above it.

    Raises:
        ValueError: a file is missing.
    """
    if not argument.endswith(_SUFFIXES):
        if Path(f"{argument}.yaml").is_file():
            raise ValueError(f"no run of this name; the experiment is {argument}.yaml")
        return Asked(argument, (), (), tuple(plugins))
    first, *others = [argument] if Path(argument).is_file() else argument.split(_JOIN)
    found = [_found(first, [Path(__file__).parent])]
    found += [_found(name, [Path(found[0]).parent]) for name in others]
    laid = [_found(name, [Path(found[0]).parent]) for name in shared]
    return Asked(argument, tuple(found), tuple(laid), tuple(plugins))


def _found(name: str, beside: Sequence[Path]) -> str:
    path = find(name, beside) if name.endswith(_SUFFIXES) else None
    if path is None or not path.is_file():
        raise ValueError(f"no such experiment: {name or '(nothing)'}{_near(name)}")
    return (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path).as_posix()


def _near(name: str) -> str:
    """' Did you mean ...?', where a file is called like it."""
    files = [path.as_posix() for suffix in _SUFFIXES for path in Path().glob(f"experiments/**/*{suffix}")]
    files += [path.name for suffix in _SUFFIXES for path in Path().glob(f"*{suffix}")]
    near = difflib.get_close_matches(name, files, n=1, cutoff=0.6)
    return f". Did you mean {near[0]}?" if near else ""
