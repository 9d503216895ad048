"""What makes two tokenizers, or two sets of images, the same: hashes that a cache of tokens is kept by."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch

from arlab import plugins
from arlab.configurable import Configurable, to_plain
from arlab.data.data import ImageData
from arlab.tokenizers.tokenizer import Tokenizer

# Facts come from the data; the rest says how images are read, not which they are.
_NOT_COUNTED = frozenset({"facts", "batch_size", "in_memory", "num_workers"})
# How a tokenizer was trained; its tokens depend on what came of it alone.
_TRAINING = frozenset({"optimizer", "reconstruction", "adversarial"})


def identity(tokenizer: Tokenizer) -> str:
    """The SHA-256 of a tokenizer's weights, plugins and settings but those of its training.

    Settings at their defaults do not count, nor do parts that stand for none at theirs, so that an option added to
    arlab later makes no cache stale.
    """
    spec: dict[str, Any] = tokenizer.spec()
    options = {key: value for key, value in spec["init_args"].items() if key not in _TRAINING}
    digest = hashlib.sha256(_said({**spec, "init_args": options}).encode())
    for name, value in sorted(tokenizer.state_dict().items()):
        held = value.detach().cpu().contiguous()
        digest.update(f"{name} {held.dtype} {tuple(held.shape)} ".encode())
        digest.update(held.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def identity_of_data(data: ImageData) -> str:
    """The SHA-256 of what a data module's images are and how they are transformed, wherever they lie.

    Raises:
        ValueError: the images cannot be found, or are not understood.
    """
    spec: dict[str, Any] = data.spec()
    options = {key: value for key, value in spec["init_args"].items() if key not in data.paths}
    told = _said({**spec, "init_args": options})
    return hashlib.sha256(f"{told} {data.content()}".encode()).hexdigest()


def _said(spec: Mapping[str, Any]) -> str:
    used = [plugin.sha256 for plugin in plugins.used(spec)]
    return json.dumps([_brief(spec), used], sort_keys=True)


def _brief(node: Any) -> Any:
    """Without what does not count and what stands at its default."""
    if isinstance(node, list):
        return [_brief(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    if "class_path" not in node:
        return {key: _brief(value) for key, value in node.items()}
    module, _, name = str(node["class_path"]).rpartition(".")
    usual = _usual(getattr(importlib.import_module(module), name))
    kept = {
        key: _brief(value)
        for key, value in node["init_args"].items()
        if key not in _NOT_COUNTED and (key not in usual or value not in usual[key])
    }
    # Classes of arlab's own may move between its files; those of others may share a name.
    return {"class": name if module.split(".")[0] == "arlab" else f"{module}.{name}", **kept}


@functools.cache
def _usual(cls: type[Configurable]) -> dict[str, list[object]]:
    """The defaults of a class's options, and the parts that stand for none among them where it needs no option."""
    parameters = inspect.signature(cls).parameters
    usual = {key: [to_plain(each.default)] for key, each in parameters.items() if each.default is not each.empty}
    try:
        built = cls().spec()
    except (TypeError, ValueError):
        return usual
    options = built["init_args"]
    assert isinstance(options, dict)
    for key, value in options.items():
        usual.setdefault(key, []).append(value)
    return usual
