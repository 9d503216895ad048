"""YAML read as plain data: mappings, lists and scalars, each key once, of a size that configurations have."""

from __future__ import annotations

from typing import Any

import yaml

_DEPTH = 50
_ENTRIES = 10_000
_TAG = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map", "merge")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without dates, sets and bytes: 2020-01-31 stays the word it is, ``!!set`` is refused."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: function
        for tag, function in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in _PLAIN
    }


def plain_yaml(text: str, where: str) -> Any:
    """The data a text stands for.

    Args:
        text: YAML.
        where: what a message begins with: a file, an option.

    Raises:
        ValueError: it is not YAML, gives a key twice, or holds an alias inside itself or thousands of entries.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, where, {})
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{where}{line}: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        raise ValueError(f"{where}: not text, character {error.position} is {error.character!r}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: nested more than {_DEPTH} deep") from error


def _size(node: yaml.Node, where: str, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many entries a node stands for, and how deep they lie, when its aliases are written out."""
    at = f"{where}, line {node.start_mark.line + 1}"
    size = known.get(id(node), (0, 0))
    if size is None:
        raise ValueError(f"{at}: an alias stands inside what it is an alias of")
    if size == (0, 0):
        known[id(node)] = None
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node, where)
            inner = [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        sizes = [_size(each, where, known) for each in inner]
        size = (1 + sum(number for number, _ in sizes), 1 + max((depth for _, depth in sizes), default=0))
        known[id(node)] = size
    if size[0] > _ENTRIES:
        raise ValueError(f"{at}: more than {_ENTRIES} entries")
    if size[1] > _DEPTH:
        raise ValueError(f"{where}: nested more than {_DEPTH} deep")
    return size


def _refuse_twice(mapping: yaml.MappingNode, where: str) -> None:
    """PyYAML would keep the last one, silently."""
    first: dict[str, int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
            continue
        line = key.start_mark.line + 1
        if key.value in first:
            raise ValueError(f"{where}, line {line}: '{key.value}' is given twice, first in line {first[key.value]}")
        first[key.value] = line
