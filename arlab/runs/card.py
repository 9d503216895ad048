"""The card of an exported model, README.md: what it is, how it is used, what was measured, where it came from.

It is made of what the export holds and of the figures beside the run; nothing is claimed that neither says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from arlab.runs.beside import CONFIG_FILE
from arlab.runs.checkpoint import KEY, ORIGIN, STARTED_FROM
from arlab.runs.content import content_of
from arlab.runs.resolve import figures_beside

CARD_FILE = "README.md"
_HERE = "--model.tokenizer FOLDER --model.initialisation.run FOLDER"
_PARTS = ("tokenizer", "ordering", "backbone", "head", "conditioner", "autoencoder", "quantizer")
_CLASSES_SHOWN = 10
_PAPER = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def card(
    checkpoint: Mapping[str, Any],
    *,
    name: str,
    figures: Mapping[str, Any] | None = None,
    trains_on: bool = False,
) -> str:
    """Markdown with the front matter that model hubs read.

    Args:
        checkpoint: what is exported; see ``arlab.runs.checkpoint``.
        name: of the folder, or OWNER/NAME on a hub.
        figures: what ``measured`` found.
        trains_on: a configuration that trains it on lies beside it.
    """
    entry = checkpoint[KEY]
    generates = "tokenizer" in entry
    options = entry["model"]["init_args"]
    kinds = [_class(options[part]) for part in ("ordering", "head") if generates]
    tags = ["arlab", "image-generation" if generates else "image-tokenizer", *kinds]
    front = yaml.safe_dump({"library_name": "arlab", "tags": [tag.lower() for tag in tags]}, sort_keys=False)
    return "\n".join(
        [
            f"---\n{front}---\n",
            f"# {name.rpartition('/')[2]}\n",
            *_what(entry, generates),
            "| | |\n|---|---|",
            *(f"| {key} | {_cell(value)} |" for key, value in _facts(checkpoint)),
            "",
            *_use(entry, name, generates, trains_on),
            *_measured(figures),
        ]
    )


def measured(path: Path) -> Mapping[str, Any] | None:
    """The figures of a checkpoint or an export, as ``arlab evaluate`` wrote them; None where there are none of it.

    Raises:
        ValueError: their file is damaged.
    """
    file = figures_beside(path)
    if not file.is_file():
        return None
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        # Those of an earlier checkpoint of the same run are of another model.
        if held.get("content") != content_of(path):
            return None
        of_tokenizer = {f"{name} of the tokenizer": each for name, each in held.get("tokenizer_figures", {}).items()}
        return {**held["figures"], **of_tokenizer}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: holds no figures (cut off or damaged?); delete it or measure again") from error


def _what(entry: Mapping[str, Any], generates: bool) -> Iterator[str]:
    source = (entry.get("facts") or {}).get("source", "images")
    kind = "An autoregressive generator" if generates else "A tokenizer"
    if entry.get(ORIGIN):
        yield f"{kind} of images, imported into arlab from the released weights of {_linked(entry[ORIGIN])}."
        yield "The weights are the release's, under its authors' terms; only their names and their files are others.\n"
    else:
        start = f", from the weights of {_linked(entry[STARTED_FROM])} on" if entry.get(STARTED_FROM) else ""
        yield f"{kind} of images, trained with arlab on {source}{start}.\n"


def _facts(checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    entry = checkpoint[KEY]
    options, facts = entry["model"]["init_args"], entry.get("facts") or {}
    yield "model", _class(entry["model"])
    for part in _PARTS:
        if isinstance(options.get(part), dict):
            yield part, _called(options[part])
    if facts:
        yield "images", " x ".join(map(str, facts["image_size"])) + f", {_channels(facts['channels'])}"
        yield "data", _of_data(entry.get("data"), facts)
    names = facts.get("class_names") or []
    if names:
        yield f"{len(names)} classes", ", ".join(names[:_CLASSES_SHOWN]) + (", ..." * (len(names) > _CLASSES_SHOWN))
    yield "parameters", _count(checkpoint["state_dict"])
    if "tokenizer" in entry:
        yield "parameters of the tokenizer", _count(entry["tokenizer"]["state_dict"])
    for plugin in entry.get("plugins") or ():
        yield "needs a plugin", f"{plugin.get('path', plugin)}"
    yield "written by", f"arlab {entry['version']}"


def _use(entry: Mapping[str, Any], name: str, generates: bool, trains_on: bool) -> Iterator[str]:
    on_hub, guided = "/" in name, generates and _guided(entry)
    call = f'arlab.from_pretrained("{name}")' if on_hub else 'arlab.load("FOLDER")'
    options = "num_images=8, guidance_scale=2.0" if guided else "num_images=8"
    then = f".sample({options})  # the last line of a notebook cell shows them"
    yield "## Use\n"
    yield "FOLDER is where these files lie; what the table leaves out is in `arlab.json`.\n"
    yield "```python\nimport arlab\n"
    yield f"{call}{then if generates else '.reconstruct(image_BCHW)  # in [-1, 1]'}"
    yield "```\n"
    yield "```bash"
    if on_hub:
        more = f' "{CONFIG_FILE}"' if trains_on else ""
        yield f'hf download {name} --include "*.safetensors" "*.json"{more} --local-dir FOLDER'
    if generates:
        yield f"arlab sample FOLDER --num_images 8{' --guidance_scale 2' if guided else ''}"
    else:
        yield "arlab fit --config EXPERIMENT --model.tokenizer FOLDER   # a generator on its tokens"
    if trains_on:
        yield f"arlab fit --config FOLDER/{CONFIG_FILE} {_HERE} --data.root IMAGES   # trains it on"
    if entry.get("data") is not None:
        yield "arlab evaluate FOLDER"
    yield "```\n"


def _guided(entry: Mapping[str, Any]) -> bool:
    """Whether there are classes, and training dropped them now and then, so that guidance has what it compares with."""
    conditioner = entry["model"]["init_args"].get("conditioner") or {}
    drops = (conditioner.get("init_args") or {}).get("drop_probability", 1)
    return bool((entry.get("facts") or {}).get("class_names")) and drops > 0


def _measured(figures: Mapping[str, Any] | None) -> Iterator[str]:
    yield "## Figures\n"
    if not figures:
        yield "None were measured with arlab.\n"
        return
    yield "By `arlab evaluate`; figures of different protocols do not compare.\n"
    yield "| figure | value | interval | protocol |\n|---|---|---|---|"
    protocols: dict[str, int] = {}
    for name, figure in figures.items():
        told = ", ".join(f"{key} {value}" for key, value in (figure.get("protocol") or {}).items() if value is not None)
        number = protocols.setdefault(told, len(protocols) + 1)
        interval = "" if figure.get("low") is None else f"{figure['low']:.4g} – {figure['high']:.4g}"
        value = "–" if figure.get("value") is None else f"{figure['value']:.4g} {figure.get('unit') or ''}".strip()
        yield f"| {name} | {value} | {interval} | {number} |"
    yield ""
    yield from (f"{number}. {_cell(told)}" for told, number in protocols.items())
    yield ""


def _linked(text: str) -> str:
    return _PAPER.sub(r"[\g<0>](https://arxiv.org/abs/\1)", text)


def _class(spec: Mapping[str, Any]) -> str:
    return str(spec["class_path"]).rpartition(".")[2]


def _called(spec: Mapping[str, Any]) -> str:
    """A part with those of its options that are plain values."""
    options = spec.get("init_args") or {}
    plain = [f"{key}={value}" for key, value in options.items() if isinstance(value, (bool, int, float, str))]
    return f"{_class(spec)}({', '.join(plain)})" if plain else _class(spec)


def _of_data(data: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> str:
    return str(facts["source"]) if data is None else f"{facts['source']} ({_class(data)})"


def _channels(number: int) -> str:
    return {1: "gray", 3: "RGB"}.get(number, f"{number} channels")


def _count(weights: Mapping[str, Any]) -> str:
    number = sum(value.numel() for value in weights.values())
    return f"{number / 1e6:.4g} M" if number >= 10**5 else f"{number:,}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
