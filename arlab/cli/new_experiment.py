"""``arlab new experiment``: a generator's configuration and its tokenizer's, which need nothing else to run."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from arlab import plugins
from arlab.cli.errors import suggestion
from arlab.cli.new import TEMPLATES, refuse_there
from arlab.cli.schema import named
from arlab.discovery import discover
from arlab.orderings.ordering import Ordering, Prefix
from arlab.pyramids.depth import DepthPyramid
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.rng import SampleRng
from arlab.runs.files import write_text


@dataclass(frozen=True)
class Images:
    """Images an experiment can be about.

    Attributes:
        title: what they show.
        data: the data module.
        size: options that only the generator's data need.
        options: what has to be added to the command.
        side: of the grid of tokens.
        codebook_size: of the tokenizer.
        tokenizer_steps: of its training.
        generator_steps: of the generator's.
        scales: of a tokenizer of several scales.
        bands: of a tokenizer of frequency bands.
        best: the figure that says which tokenizer is the best; none: its loss.
    """

    title: str
    data: str
    size: str
    options: str
    side: int
    codebook_size: int
    tokenizer_steps: int
    generator_steps: int
    scales: tuple[int | list[int], ...]
    bands: tuple[int | list[int], ...]
    best: str = ""


@dataclass(frozen=True)
class Tokens:
    """A kind of tokenizer.

    Attributes:
        file: its file.
        what: what an image becomes.
        pyramid: its levels; None where there is one.
        extra: further options of its quantizer.
    """

    file: str
    what: str
    pyramid: Pyramid | None
    extra: dict[str, Any]


_ON_8X8 = Images(
    title="Emoji",
    data="Emoji",
    size="",
    options="",
    side=8,
    codebook_size=1024,
    tokenizer_steps=2000,
    generator_steps=1200,
    scales=(1, 2, 3, 4, 6, 8),
    bands=(1, 2, 4, 8),
    best="{metric: val/psnr, higher: true}",
)
IMAGES = {
    "fashion": Images(
        title="Clothes",
        data="FashionMNIST",
        size="",
        options="",
        side=7,
        codebook_size=512,
        tokenizer_steps=1600,
        generator_steps=900,
        scales=(1, 2, 3, 5, 7),
        bands=(1, 2, 4, 7),
    ),
    "emoji32": _ON_8X8,
    "folder": dataclasses.replace(
        _ON_8X8,
        title="Your images",
        data="ImageFolder",
        size="image_size: [32, 32], ",
        options=" --data.root my_images",
        codebook_size=512,
        tokenizer_steps=2400,
        best="",
    ),
}


def experiment(name: str, ordering: str, images: str, out: Path | None, words: Iterable[str]) -> int:
    """Write an experiment, and the tokenizer it needs where that is not there yet.

    Raises:
        ValueError: there is no such ordering or data, the file is there already, or no tokenizer serves the ordering.
    """
    if images not in IMAGES:
        raise ValueError(f"data: no images are called {images!r}.{suggestion(images, IMAGES)}")
    about = IMAGES[images]
    folder = Path("experiments", images) if out is None else out
    file = folder / f"{name}.yaml"
    refuse_there({file: ""})
    discover()
    plugins.load_all(words)
    cls = _ordering(ordering)
    kind = _tokens_for(cls, about)
    tokenizer = folder / "tokenizers" / kind.file
    beside = tokenizer.relative_to(folder).as_posix()
    source = plugins.source_of(cls)
    texts = {
        file: _filled(
            "experiment.yaml",
            title=f"{about.title}: {_summary(cls)}",
            path=file.as_posix(),
            options=about.options,
            plugins=f"plugins: {json.dumps([source])}\n" if source is not None and Path(source).is_file() else "",
            tokenizer=beside,
            ordering=cls.__name__,
            places="" if kind.pyramid is None else "\n        places: [LevelPlaces]",
            data=about.data,
            size=about.size,
            steps=about.generator_steps,
            interval=about.generator_steps // 3,
        )
    }
    if not tokenizer.exists():
        texts[tokenizer] = _tokenizer(about, kind, tokenizer)
        refuse_there({tokenizer: ""})
    for path, text in texts.items():
        write_text(path, text)
        print(path)
    if tokenizer not in texts:
        print(f"{tokenizer}  was there already, and is used")
    print(f"next: arlab fit --config {file}{about.options}")
    return 0


def _ordering(name: str) -> type[Ordering]:
    known = named((Ordering,))
    if name not in known:
        raise ValueError(f"ordering: no class named '{name}' is loaded.{suggestion(name, known)}{plugins.left_out()}")
    cls = known[name][0]
    assert issubclass(cls, Ordering)
    needed = [key for key, each in inspect.signature(cls).parameters.items() if each.default is each.empty]
    if needed:
        raise ValueError(f"ordering: {name} needs {', '.join(needed)}; write an experiment for another and change it")
    return cls


def _summary(cls: type) -> str:
    """The first line of a class's documentation."""
    return (inspect.getdoc(cls) or cls.__name__).splitlines()[0]


def _kinds(about: Images) -> tuple[Tokens, ...]:
    """Every kind of tokenizer, the simplest first."""
    return (
        Tokens("vq.yaml", "tokens on one grid", None, {}),
        Tokens(
            "multi_scale.yaml",
            "tokens scale by scale",
            ScalePyramid(patch_nums=list(about.scales)),
            {"refinement": "PhiConvolutions"},
        ),
        Tokens("frequency.yaml", "tokens band by band", FrequencyPyramid(bands=list(about.bands)), {}),
        Tokens("residual.yaml", "two tokens on each place", DepthPyramid(depth=2), {"share_codebook": False}),
    )


def _tokens_for(cls: type[Ordering], about: Images) -> Tokens:
    """The simplest tokenizer whose tokens an ordering takes.

    Raises:
        ValueError: there is none; with what the ordering says of the simplest.
    """
    ordering, grid = cls(), (about.side, about.side)
    why: ValueError | None = None
    for kind in _kinds(about):
        single = ordering.layout_of(grid)
        layout = single if kind.pyramid is None else kind.pyramid.layout(grid)
        if kind.pyramid is None and len(single.shapes) > 1:
            continue
        try:
            ordering.refuse(layout, kind.pyramid)
            next(ordering.steps(layout, Prefix(1), SampleRng([0])))
        except ValueError as error:
            why = why or error
        else:
            return kind
    raise ValueError(f"ordering: no tokenizer serves {cls.__name__}" + ("" if why is None else f" ({why})")) from why


def _tokenizer(about: Images, kind: Tokens, path: Path) -> str:
    codes: dict[str, Any] = {"codebook_size": about.codebook_size, "decay": 0.97}
    if kind.pyramid is None:
        quantizer: dict[str, Any] = {"class_path": "VectorQuantizer"}
        quantizer["init_args"] = {**codes, "commitment_weight": 1.0, "revive_below": 0.3}
    else:
        spec = kind.pyramid.spec()
        given = spec["init_args"]
        assert isinstance(given, dict)
        pyramid = {
            "class_path": type(kind.pyramid).__name__,
            "init_args": {key: value for key, value in given.items() if key in ("patch_nums", "bands", "depth")},
        }
        inner = {"class_path": "VectorQuantizer", "init_args": {**codes, "revive_below": 0.3}}
        quantizer = {"class_path": "PyramidQuantizer"}
        quantizer["init_args"] = {"pyramid": pyramid, "quantizer": inner, **kind.extra, "commitment_weight": 1.0}
    written = yaml.safe_dump(quantizer, sort_keys=False, default_flow_style=None, width=200)
    needs_size = f" --data {about.data}{about.options} --data.image_size 32" if about.size else ""
    return _filled(
        "tokenizer.yaml",
        title=f"{about.title} as {kind.what}.",
        path=path.as_posix(),
        options=needs_size,
        quantizer="\n".join(f"      {line}" for line in written.splitlines()),
        data="{batch_size: 32}" if about.size else f"{{class_path: {about.data}, init_args: {{batch_size: 32}}}}",
        best=f"best: {about.best}\n" if about.best else "",
        steps=about.tokenizer_steps,
        interval=about.tokenizer_steps // 4,
    )


def _filled(template: str, **values: object) -> str:
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)
