"""The configuration that lies beside an imported generator: the experiment that trains it on, on a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from arlab.generators.captions import Captions
from arlab.generators.generator import Generator

_STEPS = 2000
_BATCH_SIZE = 16
_LEARNING_RATE = 1e-4
_AVERAGED = 0.999


def tuning(generator: Generator, run: Path, images: Path | None) -> str:
    """The YAML of the experiment.

    Args:
        generator: as it was imported.
        run: the folder it is written to, as it was named.
        images: those of the release's own classes, where they were named.
    """
    spec = generator.spec()
    options: Any = _bare(spec)["init_args"]
    del options["facts"]
    # Classes are others wherever the images are not the release's; prompts are the release's until a file names others.
    prompts = isinstance(generator.conditioner, Captions)
    fresh = [] if images is not None or prompts else ["conditioner."]
    options |= {
        "tokenizer": run.as_posix(),
        "optimizer": {"class_path": "AdamW", "init_args": {"learning_rate": _LEARNING_RATE, "warmup_steps": 100}},
        "ema_decay": options["ema_decay"] or _AVERAGED,
        "initialisation": {"class_path": "FromRun", "init_args": {"run": run.as_posix(), "fresh": fresh}},
    }
    own = {"image_size": list(generator.facts.image_size), "batch_size": _BATCH_SIZE}
    root = {} if images is None else {"root": images.as_posix()}
    grid = {"num_per_class": 2, "scale": 1, "sampler": {"guidance": _guidance(2.0)}}
    tree = {
        "experiment": f"tuned/{run.resolve().name}",
        "model": {"class_path": "Generator", "init_args": options},
        "data": {"class_path": "ImageFolder", "init_args": {**root, **own}},
        "trainer": {
            "max_steps": _STEPS,
            "val_check_interval": 500,
            "check_val_every_n_epoch": None,
            "gradient_clip_val": 1.0,
            "callbacks": [{"class_path": "SampleGrid", "init_args": grid}],
        },
    }
    header = (_HEADER + (_OF_PROMPTS if prompts else _OF_CLASSES)).format(run=run.as_posix())
    return header + yaml.safe_dump(tree, sort_keys=False, width=120)


_HEADER = """\
# Trains the weights beside this file on, on images of your own, a folder for each class.
#
#   arlab fit --config {run}/config.yaml --data.root FOLDER
#
# The architecture is the release's. Learning rate, batch size and length are no published setting, but a guess to begin
"""
_OF_CLASSES = """\
# with. What stands in `fresh` is not taken from the release: conditioner. holds a vector for each class. With the
# release's own classes, their folders in its order, [] keeps them.
"""
_OF_PROMPTS = """\
# with. The folders are called as the prompts. Of other prompts, a file with their embeddings tells:
#
#   --model.conditioner.file FILE --model.initialisation.fresh '[conditioner.embedding, conditioner.valid]'
#
"""


def _guidance(scale: float) -> dict[str, Any]:
    return {"class_path": "ConstantGuidance", "init_args": {"guidance_scale": scale}}


def _bare(node: Any) -> Any:
    """Parts by the bare names of their classes, without facts, which are the data's."""
    if isinstance(node, list):
        return [_bare(item) for item in node]
    if not isinstance(node, dict):
        return node
    named = {key: _bare(value) for key, value in node.items()}
    if "class_path" in named:
        named["class_path"] = str(named["class_path"]).rpartition(".")[2]
    return named
