"""``arlab new``: a working ordering, pyramid, head or experiment to start from, written as files of one's own."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from arlab.cli.parser import Parser
from arlab.runs.files import refuse_unwritable, write_text

TEMPLATES = Path(__file__).with_name("templates")
_EXPERIMENT = "experiment"
_KINDS = ("ordering", "pyramid", "head", _EXPERIMENT)
_FOLDER = "plugins"
_MOST_LETTERS = 60
# In a folder of tests their names would hide these packages.
_PACKAGES = frozenset({"arlab", "jsonargparse", "lightning", "numpy", "pytest", "torch", "yaml"})
_THEN = {"ordering": "arlab new experiment NAME --ordering {cls}{named}"}
_EXAMPLES = """\
  arlab new ordering spiral               plugins/spiral.py and its test, plugins/test_spiral.py
  arlab check plugins/spiral.py           the laws every ordering obeys
  arlab new experiment mine --ordering Spiral
  arlab fit --config experiments/fashion/mine.yaml"""


def parser() -> Parser:
    """The options of the command."""
    options = Parser(
        command="new",
        description="Write a small working part, or an experiment, to start from. Nothing is ever overwritten.",
        examples=_EXAMPLES,
    )
    options.add_argument("kind", choices=_KINDS, metavar="KIND", help=f"one of {', '.join(_KINDS)}")
    options.add_argument("name", metavar="NAME", help="of the file; its class is named after it (my_part, MyPart)")
    options.add_argument(
        "--out", type=Path, metavar="FOLDER", help=f"where to write ({_FOLDER}; experiments/DATA for an experiment)"
    )
    options.add_argument("--ordering", metavar="NAME", help="of an experiment (Raster)")
    options.add_argument("--data", metavar="DATA", help="of an experiment: fashion, emoji32 or folder (fashion)")
    options.add_plugins()
    return options


def main(argv: list[str]) -> int:
    """Run the command."""
    options = parser().read(argv)
    if options.kind == _EXPERIMENT:
        from arlab.cli.new_experiment import experiment

        check_name(options.name)
        return experiment(
            options.name, options.ordering or "Raster", options.data or "fashion", options.out, options.plugins
        )
    for key in ("ordering", "data"):
        if getattr(options, key) is not None:
            raise ValueError(f"{key}: is an option of arlab new {_EXPERIMENT} alone")
    return part(options.kind, options.name, options.out or Path(_FOLDER), options.plugins)


def part(kind: str, name: str, folder: Path, plugins: list[str]) -> int:
    """Write a part and its test.

    Raises:
        ValueError: the name is none, is taken, or a file of it is there already.
    """
    check_name(name)
    stem, cls = snake(name), camel(name)
    if stem in _PACKAGES | sys.stdlib_module_names or stem.startswith(("_", "test_")):
        raise ValueError(f"name: a plugin cannot be called {stem}.py, which is another module's name or a test's")
    file, test = folder / f"{stem}.py", folder / f"test_{stem}.py"
    texts = {file: _template(f"{kind}.py"), test: _template(f"test_{kind}.py")}
    refuse_there(texts)
    imported = re.findall(r"^(?:from|import) .*", "\n".join(texts.values()), re.MULTILINE)
    if re.search(rf"\b{cls}\b", "\n".join(imported)):
        raise ValueError(f"name: a class {cls} is imported by the file itself; choose another name")
    _refuse_taken(cls, plugins)
    own, its_class = f"my_{kind}", f"My{camel(kind)}"
    instead = {
        f"{_FOLDER}/test_{own}.py": test.as_posix(),
        f"{_FOLDER}/{own}.py": file.as_posix(),
        its_class: cls,
        own: stem,
    }
    # All at once: what is put in may hold what is looked for.
    wanted = re.compile("|".join(map(re.escape, instead)))
    for path, text in texts.items():
        write_text(path, wanted.sub(lambda found: instead[found[0]], text))
    print(f"{file}  the {kind} {cls}, which works as it is: change it")
    print(f"{test}  its test: pytest {test}")
    print(f"next: {_next(kind, file, cls)}")
    return 0


def _next(kind: str, file: Path, cls: str) -> str:
    named = "" if file.parent == Path(_FOLDER) else f" --plugins {file}"
    then = _THEN.get(kind, "arlab describe {cls}{named}; the head of the file says how to train with it")
    return f"arlab check {file}, then {then.format(cls=cls, named=named)}"


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def check_name(name: str) -> None:
    """See that a name can be a module's and a class's.

    Raises:
        ValueError: it cannot.
    """
    lowered = name.lower()
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name) or keyword.iskeyword(lowered):
        raise ValueError(f"name: expected a Python name such as my_part, got {name!r}")
    if not name[0].isalpha() or len(name) > _MOST_LETTERS:
        raise ValueError(f"name: must begin with a letter and have at most {_MOST_LETTERS}, got {name!r}")


def refuse_there(paths: Mapping[Path, str]) -> None:
    """See that files can be written, and that none is there.

    Raises:
        ValueError: one is there, or cannot be written.
    """
    for path in paths:
        if path.exists():
            raise ValueError(f"name: {path} is there already; choose another name, or move it away")
        refuse_unwritable("out", path)


def _refuse_taken(cls: str, plugins: list[str]) -> None:
    """See that no component has the name, whatever the case of its letters: arlab describe does not look at it."""
    from arlab.cli.catalogue import components, faces, kinds
    from arlab.discovery import discover
    from arlab.plugins import load_all

    discover()
    load_all(plugins)
    for other in (*components(), *faces(), *kinds().values()):
        if other.name.lower() == cls.lower():
            raise ValueError(f"name: {other.name} is taken ({other.kind}, {other.source}); choose another name")


def snake(name: str) -> str:
    """my_part for MyPart."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def camel(name: str) -> str:
    """MyPart for my_part."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))
