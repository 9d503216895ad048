"""Keys in what constructors refuse, as they stand in the configuration.

A part does not know where it stands: a quantizer speaks of ``quantizer.codebook_size``, whatever holds it. Who builds
it knows, and says ``model.quantizer.quantizer.codebook_size``.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

_NAME = r"[a-z_]\w*(?:\[\d+\])?"
_KEY = re.compile(rf"{_NAME}(?:\.{_NAME})*(?=: )")
_INDEX = re.compile(r"\[(\d+)\]$")


def as_typed(message: str, at: str, spec: Mapping[str, object]) -> str:
    """A message that begins with a key, with the whole key where that can be told, else as it is.

    The key's first word is what the part calls itself, an option of it, or the name of one part further down.

    Args:
        message: what the constructor of a part said.
        at: where the part stands, dotted.
        spec: the part and all below it.
    """
    found = _KEY.match(message)
    if found is None:
        return message
    words = found[0].split(".")
    own = [words[1:]] if len(words) > 1 and words[0] == _INDEX.sub("", at.rpartition(".")[2]) else []
    whole = [f"{at}.{'.'.join(tail)}" for tail in (*own, *(words[n:] for n in range(len(words)))) if _takes(spec, tail)]
    if not whole:
        below = [(place, part) for place, part in _parts(spec, at) if place.rpartition(".")[2] == words[0]]
        whole = [".".join([place, *words[1:]]) for place, part in below if _takes(part, words[1:])]
        whole = whole if len(whole) == 1 else []
    return f"{whole[0]}{message[found.end() :]}" if whole else message


def _takes(node: object, words: Sequence[str]) -> bool:
    """Whether a node of a spec has such an option; of a part that is left to its default anything may be."""
    if not words or node is None:
        return True
    if not isinstance(node, Mapping):
        return False
    options = node
    if "class_path" in node:
        module, _, name = str(node["class_path"]).rpartition(".")
        options = dict.fromkeys(inspect.signature(getattr(sys.modules[module], name)).parameters)
        options |= node.get("init_args", {})
    word, index = _INDEX.sub("", words[0]), _INDEX.search(words[0])
    if word not in options:
        return False
    value = options[word]
    if index is not None and isinstance(value, list):
        value = value[int(index[1])] if int(index[1]) < len(value) else None
    return len(words) == 1 or _takes(value, words[1:])


def _parts(node: object, at: str) -> Iterator[tuple[str, object]]:
    """Every part below a node of a spec, and where it stands."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _parts(item, f"{at}[{number}]")
    if isinstance(node, Mapping):
        options = node.get("init_args", {}) if "class_path" in node else node
        for key, value in options.items():
            yield f"{at}.{key}", value
            yield from _parts(value, f"{at}.{key}")
