"""What makes two runs the same: data, architecture, optimisation and seed; not paths, device or logging.

Options that stand at their defaults do not count, so that an option added to arlab later does not orphan earlier
runs. A default that has *changed* since is found by comparing with the configuration a run was made with, and with the
spec in its checkpoint, which tells what was built for options that were left out.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L

from arlab.configurable import to_plain

OPTIMISATION = (
    "max_steps",
    "max_epochs",
    "min_steps",
    "min_epochs",
    "limit_train_batches",
    "overfit_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "accumulate_grad_batches",
    "precision",
    "max_time",
)
_NOT_COUNTED = frozenset({"facts", "in_memory", "num_workers"})
_LENGTH = 8


def fingerprint(config: Mapping[str, Any], tokenizer_key: str | None, weights_key: str | None = None) -> dict[str, Any]:
    """The part of a parsed configuration that counts, defaults included.

    Args:
        config: plain data.
        tokenizer_key: the key of the run the tokenizer comes from, in place of its path; None where it is a class.
        weights_key: the key of the run that initial weights come from, in place of its path; None where they are drawn.
    """
    model = {**config["model"], "init_args": dict(config["model"].get("init_args") or {})}
    if tokenizer_key is not None:
        model["init_args"]["tokenizer"] = {"run": tokenizer_key}
    if weights_key is not None:
        start = model["init_args"]["initialisation"]
        model["init_args"]["initialisation"] = {**start, "init_args": {**start["init_args"], "run": weights_key}}
    return {
        "data": counts(config["data"]),
        "model": counts(model),
        "trainer": {key: config["trainer"].get(key) for key in OPTIMISATION},
        "seed": config.get("seed_everything"),
    }


def key_of(counted: Mapping[str, Any]) -> str:
    """The first 8 hexadecimal digits of the SHA-256 of a fingerprint without defaults."""
    defaults = {name: p.default for name, p in inspect.signature(L.Trainer).parameters.items()}
    trainer = {key: value for key, value in counted["trainer"].items() if value != defaults.get(key)}
    brief = {**counted, "trainer": trainer, "model": _brief(counted["model"]), "data": _brief(counted["data"])}
    return hashlib.sha256(json.dumps(brief, sort_keys=True).encode()).hexdigest()[:_LENGTH]


def difference(old: Any, new: Any, at: str = "") -> str | None:
    """The first key that both fingerprints have with different values, as 'key: old -> new'."""
    return next(differences(old, new, at), None)


def differences(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """All keys that both fingerprints have with different values; of a class that is another one only the class."""
    where = at.replace(".init_args", "")
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        if old != new:
            yield f"{where}: {_shown(old)} -> {_shown(new)}"
    elif old.get("class_path") != new.get("class_path"):
        yield f"{where}: {_shown(old)} -> {_shown(new)}"
    else:
        for key in old:
            if key in new:
                yield from differences(old[key], new[key], f"{at}.{key}" if at else key)


def _shown(value: Any) -> str:
    """A class by its name."""
    return (
        str(value["class_path"]).rpartition(".")[2]
        if isinstance(value, Mapping) and "class_path" in value
        else str(value)
    )


def counts(node: Any) -> Any:
    """The part of a spec that counts."""
    if isinstance(node, Mapping):
        return {key: counts(value) for key, value in sorted(node.items()) if key not in _NOT_COUNTED}
    if isinstance(node, (list, tuple)):
        return [counts(item) for item in node]
    return node


def _brief(node: Any) -> Any:
    """Without the options that stand at their defaults."""
    if isinstance(node, list):
        return [_brief(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    if "class_path" not in node:
        return {key: _brief(value) for key, value in node.items()}
    module, _, name = str(node["class_path"]).rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    options = node.get("init_args") or {}
    kept = {
        key: _brief(value)
        for key, value in options.items()
        if key not in parameters or not _is_default(value, parameters[key].default)
    }
    # Classes of arlab's own may move between its files; those of others may share a name.
    return {"class": name if module.split(".")[0] == "arlab" else f"{module}.{name}", **kept}


def _is_default(value: Any, default: Any) -> bool:
    return default is not inspect.Parameter.empty and bool(value == to_plain(default))
