"""What ``arlab check`` is asked to check: a plugin's file, a class, a kind, an experiment or a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arlab import plugins
from arlab.cli.catalogue import Component, find, plural
from arlab.configurable import Configurable
from arlab.conformance.check import Report, check, check_class
from arlab.conformance.families import FAMILIES, Family, discovered, family_of, needed
from arlab.conformance.law import Grid
from arlab.conformance.own import own_parts
from arlab.conformance.plugin_classes import is_plugin, plugin_classes
from arlab.discovery import discover, named
from arlab.plugins.sources import files_in
from arlab.runs.folder import RunFolder
from arlab.runs.resolve import EXPORT_FILE
from arlab.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    from arlab.module import Module

ALL = "all"
Grids = Sequence[Grid] | None


def reports_of(
    target: str, options: Sequence[str], grids: Grids, named_plugins: Sequence[str], unloaded: Callable[[str], None]
) -> Iterator[Report]:
    """Check what a word names, one component after the other.

    Args:
        target: a file, folder, class, kind, experiment or run; 'all'.
        options: of a class, as KEY=VALUE.
        grids: to try in place of the usual ones.
        named_plugins: that are needed besides.
        unloaded: is told why a file of a folder cannot be loaded, where others can.

    Raises:
        ValueError: it names nothing that has laws, or what it names cannot be loaded or made.
    """
    discover()
    path = Path(target)
    if is_plugin(path):
        _refuse_options(options, "a file's classes are checked with their defaults; name a class to give it options")
        classes = _classes_in(path, unloaded)
        plugins.load_all(named_plugins)
        return _of_classes(classes, target, grids)
    if path.suffix in (".yaml", ".yml"):
        _refuse_options(options, "an experiment gives its own options")
        return _of_model(_of_experiment(target, named_plugins), target)
    plugins.load_all(named_plugins)
    if path.exists():
        _refuse_options(options, "a run has its own options")
        _refuse_other_files(path)
        return _of_model(_of_run(target), target)
    if target == ALL:
        _refuse_options(options, "only a single class takes options")
        classes = [cls for family in FAMILIES for cls in _concrete(family)]
        return iter([check_class(cls, family, grids) for cls in classes if (family := family_of(cls))])
    return _of_name(target, options, grids)


def _refuse_options(options: Sequence[str], why: str) -> None:
    if options:
        raise ValueError(f"check: unexpected {options[0]!r}; {why}")


def _refuse_other_files(path: Path) -> None:
    if path.is_file() and path.suffix != ".ckpt":
        raise ValueError(
            f"check: {path} is nothing that can be checked: a plugin (.py), a folder of plugins, an experiment "
            "(.yaml), a run or its checkpoint (.ckpt), a class or a kind"
        )
    is_run = (path / EXPORT_FILE).is_file() or RunFolder(path).config.is_file()
    if path.is_dir() and not is_run and not any(inside.is_dir() for inside in path.iterdir()):
        raise ValueError(f"check: {path}/: no .py file in it, and it is no run")


# ---- classes


def _classes_in(path: Path, unloaded: Callable[[str], None]) -> list[type[Configurable]]:
    """Those of a file; of a folder, those of the files that can be loaded."""
    if not path.is_dir():
        return plugin_classes(path)
    classes: list[type[Configurable]] = []
    wrong: list[str] = []
    for file in files_in(path):
        try:
            classes += plugin_classes(file)
        except ValueError as error:
            wrong.append(" ".join(str(error).split()))
    if wrong and not classes:
        raise ValueError("; ".join(wrong))
    for why in wrong:
        unloaded(why)
    return classes


def _of_name(name: str, options: Sequence[str], grids: Grids) -> Iterator[Report]:
    found = find(name)
    concrete = [component.cls for component in found if not component.abstract]
    if not concrete:
        _refuse_options(options, f"{name} is a kind; only a single class takes options")
        kinds = [family for family in FAMILIES if any(issubclass(c.cls, family.base) for c in found)]
        return _of_classes([c for f in kinds for c in _concrete(f) if issubclass(c, found[0].cls)], name, grids)
    if not options:
        return _of_classes(concrete, name, grids)
    return _with_options(concrete[0], options, grids)


def _with_options(cls: type[Configurable], options: Sequence[str], grids: Grids) -> Iterator[Report]:
    family = family_of(cls)
    if family is None:
        raise _no_laws(cls.__name__, [cls])
    if issubclass(cls, Tokenizer):
        raise ValueError(f"check: {cls.__name__}: options of a tokenizer stand in an experiment; arlab check FILE.yaml")
    yield check(named([cls.__name__, *options], family.base, "check"), family, grids)


def _of_classes(classes: Sequence[type[Configurable]], target: str, grids: Grids) -> Iterator[Report]:
    pairs = [(cls, family) for cls in classes if (family := family_of(cls)) is not None]
    if not pairs:
        raise _no_laws(target, classes)
    return (check_class(cls, family, grids) for cls, family in pairs)


def _no_laws(target: str, classes: Sequence[type]) -> ValueError:
    there_are = f"there are laws for {', '.join(plural(family.base) for family in FAMILIES)}"
    names = ", ".join(cls.__name__ for cls in classes)
    return ValueError(f"check: {target}: {f'no laws for {names}' if names else 'no component in it'}; {there_are}")


def _concrete(family: Family) -> list[type[Configurable]]:
    """arlab's own and those of plugins; what cannot be made without options is there to be subclassed."""
    found = [component.cls for component in Component(family.base).implementations if not component.abstract]
    plugged = [cls for cls in found if plugins.source_of(cls) is not None]
    return [cls for cls in (*discovered(family.base), *plugged) if not needed(cls)]


# ---- models


def _of_experiment(file: str, named_plugins: Sequence[str]) -> Module:
    import torch

    from arlab.cli.arguments import parse
    from arlab.cli.experiment import from_request
    from arlab.cli.quiet import quiet

    quiet()
    words = [word for path in named_plugins for word in ("--plugins", path)]
    experiment = from_request(parse(["fit", "--config", file, *words])).with_untrained_tokenizer()
    run = experiment.prepare()
    if experiment.tokenizer is not None:
        return run.cli.build_model()
    # Only how it is made is looked at, so that its weights need no memory.
    with torch.device("meta"):
        return run.cli.build_model()


def _of_run(run: str) -> Module:
    from arlab.module import Module
    from arlab.runs.resolve import load_model

    return load_model(run, Module)


def _of_model(model: Module, target: str) -> Iterator[Report]:
    parts = own_parts(model)
    if not parts:
        raise _no_laws(target, [type(model)])
    return (check(component, family) for component, family in parts)
