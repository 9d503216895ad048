"""What makes two tokenizers, or two sets of images, the same: hashes that a cache of tokens is kept by."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch

from arlab import plugins
from arlab.configurable import to_plain
from arlab.data.data import ImageData
from arlab.tokenizers.tokenizer import Tokenizer

# Facts come from the data; the rest says how images are read, not which they are.
_NOT_COUNTED = frozenset({"facts", "batch_size", "in_memory", "num_workers"})


def identity(tokenizer: Tokenizer) -> str:
    """The SHA-256 of a tokenizer's weights, settings and plugins.

    Settings at their defaults do not count, so that an option added to arlab later makes no cache stale.
    """
    digest = hashlib.sha256(_said(tokenizer.spec()).encode())
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
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    kept = {
        key: _brief(value)
        for key, value in node["init_args"].items()
        if key not in _NOT_COUNTED and (key not in parameters or value != _default(parameters[key]))
    }
    # Classes of arlab's own may move between its files; those of others may share a name.
    return {"class": name if module.split(".")[0] == "arlab" else f"{module}.{name}", **kept}


def _default(parameter: inspect.Parameter) -> object:
    """A default as it stands in a spec; what no option equals where there is none."""
    return parameter.empty if parameter.default is parameter.empty else to_plain(parameter.default)
