"""Imports point one way, files stay short, nothing is tied to one device."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import arlab

ROOT = Path(arlab.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# (who, must not import what, except). A prefix of a module name stands for all that lies below it.
ARROWS = (
    (
        "arlab.orderings",
        ("arlab.heads", "arlab.tokenizers", "arlab.generators", "arlab.backbones", "arlab.drawing"),
        (),
    ),
    (
        "arlab.drawing",
        ("arlab.heads", "arlab.tokenizers", "arlab.generators", "arlab.backbones", "arlab.callbacks"),
        (),
    ),
    (
        "arlab.heads",
        ("arlab.orderings", "arlab.generators", "arlab.backbones", "arlab.tokenizers"),
        ("arlab.orderings.step", "arlab.orderings.ordering"),
    ),
    (
        "arlab.backbones",
        ("arlab.heads", "arlab.generators", "arlab.tokenizers", "arlab.orderings"),
        ("arlab.orderings.step", "arlab.orderings.ordering"),
    ),
    (
        "arlab.tokenizers",
        ("arlab.heads", "arlab.generators", "arlab.orderings", "arlab.callbacks", "arlab.metrics"),
        ("arlab.orderings.step",),
    ),
    (
        "arlab.features",
        (
            "arlab.heads",
            "arlab.generators",
            "arlab.orderings",
            "arlab.backbones",
            "arlab.callbacks",
            "arlab.tokenizers",
            "arlab.metrics",
        ),
        (),
    ),
    (
        "arlab.metrics",
        ("arlab.heads", "arlab.generators", "arlab.orderings", "arlab.backbones", "arlab.callbacks"),
        ("arlab.orderings.step",),
    ),
    (
        "arlab.pyramids",
        ("arlab.heads", "arlab.generators", "arlab.tokenizers", "arlab.backbones", "arlab.orderings"),
        ("arlab.orderings.step",),
    ),
    ("arlab.ranges", ("arlab",), ()),
    ("arlab.runs", ("arlab.heads", "arlab.generators", "arlab.tokenizers", "arlab.backbones", "arlab.trained"), ()),
    ("arlab.generators", ("arlab.callbacks", "arlab.trained", "arlab.conformance"), ()),
    (
        "arlab.data",
        (
            "arlab.heads",
            "arlab.generators",
            "arlab.tokenizers",
            "arlab.backbones",
            "arlab.orderings",
            "arlab.features",
            "arlab.metrics",
        ),
        (),
    ),
)


def module(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def imports(path: Path) -> Iterator[str]:
    """Every module a file names in an import, inside functions and for type checking as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            # ``from arlab import cli`` names a module, too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("arrow", ARROWS, ids=lambda arrow: arrow[0])
def test_imports_point_one_way(arrow: tuple[str, tuple[str, ...], tuple[str, ...]]) -> None:
    who, forbidden, except_ = arrow
    wrong = [
        f"{module(path)} imports {name}"
        for path in FILES
        if below(module(path), who)
        for name in imports(path)
        if any(below(name, prefix) for prefix in forbidden)
        and not any(below(name, allowed) for allowed in except_)
        and name not in {allowed.rpartition(".")[0] for allowed in except_}
    ]
    assert not wrong


def test_nothing_but_the_command_line_imports_it() -> None:
    inside = ("arlab.cli", "arlab.__main__")
    wrong = [
        f"{module(path)} imports {name}"
        for path in FILES
        if not any(below(module(path), prefix) for prefix in inside)
        for name in imports(path)
        if below(name, "arlab.cli")
    ]
    assert not wrong


def test_an_ordering_knows_the_contract_and_its_helpers_only() -> None:
    """Concrete orderings do not build on each other; Traversal is a face of the contract."""
    shared = {
        "arlab.orderings",
        *(
            f"arlab.orderings.{name}"
            for name in (
                "step",
                "ordering",
                "traversal",
                "levels",
                "level_inputs",
                "scale_schedules",
                "entities",
                "noised_entities",
                "annealing",
                "orders",
                "set_sizes",
                "choices",
                "mask_ratios",
                "choices",
                "mask_ratios",
            )
        ),
    }
    wrong = [
        f"{module(path)} imports {name}"
        for path in FILES
        if below(module(path), "arlab.orderings")
        for name in imports(path)
        if below(name, "arlab.orderings") and not any(below(name, each) for each in shared - {"arlab.orderings"})
    ]
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=module)
def test_files_stay_short_and_free_of_devices(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert ".cuda(" not in text
