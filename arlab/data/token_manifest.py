"""What a cache of tokens says of itself: ``cache.json``, written last.

Letters: N tokens of an image, C width of a token vector, V codebook size.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arlab.data.facts import DataFacts
from arlab.data.files.digest import digest

FORMAT = 1
MANIFEST = "cache.json"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Shard:
    """A file of tokens.

    Attributes:
        file: its name.
        rows: how many images' tokens it holds.
        size: in bytes.
        sha256: of its bytes.
    """

    file: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True)
class CachedPart:
    """A part of an image set: all its images in order, once per view, view after view.

    Attributes:
        images: how many there are.
        views: how many times each was transformed anew.
        shards: the files, in order.
    """

    images: int
    views: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Maker:
    """The tokenizer that made a cache.

    Attributes:
        sha256: of its weights and settings.
        name: of its class.
        run: the RUN it was taken from.
    """

    sha256: str
    name: str
    run: str

    def __str__(self) -> str:
        return f"{self.name} {self.sha256[:8]} ({self.run})"


@dataclass(frozen=True)
class Source:
    """The images a cache was made of.

    Attributes:
        sha256: of what they are and how they are transformed.
        spec: of the data module.
        sample: of some of the images' bytes, where ``sha256`` counts names and sizes only; None where it is not known.
    """

    sha256: str
    spec: Mapping[str, Any]
    sample: str | None = None

    def __str__(self) -> str:
        return f"{str(self.spec['class_path']).rpartition('.')[2]} {self.sha256[:8]}"


@dataclass(frozen=True)
class Manifest:
    """What a cache holds and what it was made of.

    Attributes:
        tokenizer: what made the tokens.
        data: what they were made of.
        facts: of the images.
        shape: (N,) indices or (N, C) vectors, of one image.
        codebook_size: V for indices, None for vectors.
        dtype: what tokens are stored as.
        parts: train, validation and test.
        arlab: the version that wrote it.
        torch: the version that computed it.
        format: of the folder.
    """

    tokenizer: Maker
    data: Source
    facts: DataFacts
    shape: tuple[int, ...]
    codebook_size: int | None
    dtype: str
    parts: Mapping[str, CachedPart]
    arlab: str
    torch: str
    format: int = FORMAT

    @property
    def content(self) -> str:
        """A digest of the tokens, wherever they lie."""
        held = [f"{name} {p.images} {p.views} {shard.sha256}" for name, p in self.parts.items() for shard in p.shards]
        return digest([self.tokenizer.sha256, self.data.sha256, *held])

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for part in self.parts.values() for shard in part.shards)

    def text(self) -> str:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """What a cache says of itself.

    Raises:
        ValueError: there is no cache, it is not readable, or its format is a newer one.
    """
    path = folder / MANIFEST
    if not path.is_file():
        there = "is no cache of tokens" if folder.is_dir() else "no such folder"
        raise ValueError(f"data.folder: {folder}: {there} (arlab cache RUN --out {folder} makes one)")
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        newer = held["format"] > FORMAT
        manifest = None if newer else _manifest(held)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged; make the cache again with --overwrite") from error
    if manifest is None:
        raise ValueError(f"{path}: written in format {held['format']} by arlab {held.get('arlab')}; update arlab")
    return manifest


def _manifest(held: Mapping[str, Any]) -> Manifest:
    facts = held["facts"]
    parts = {}
    for name in PARTS:
        part = held["parts"][name]
        parts[name] = CachedPart(part["images"], part["views"], tuple(Shard(**shard) for shard in part["shards"]))
    return Manifest(
        **{
            **held,
            "tokenizer": Maker(**held["tokenizer"]),
            "data": Source(**held["data"]),
            "facts": DataFacts(
                **{**facts, "image_size": tuple(facts["image_size"]), "class_names": tuple(facts["class_names"])}
            ),
            "shape": tuple(held["shape"]),
            "parts": parts,
        }
    )
