"""Writing the tokens of an image set to a folder, once, for many trainings.

Letters: B batch, N tokens of an image, C width of a token vector.
"""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import arlab
from arlab.data.data import Batch, Part
from arlab.data.loaders import LoadedData, Split
from arlab.data.token_manifest import MANIFEST, CachedPart, Maker, Manifest, Source, read_manifest
from arlab.data.token_shards import ShardWriter, index_dtype, narrowed, verify
from arlab.ranges import require
from arlab.runs.files import remove, written_whole
from arlab.tokenizers.identity import identity, identity_of_data
from arlab.tokenizers.tokenizer import Tokenizer

MOST_VIEWS = 1000
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Caching:
    """What is to be cached.

    Attributes:
        tokenizer: on the device it is to work on.
        data: the images.
        run: the RUN the tokenizer was taken from, to be told.
        views: K, how many times the training images are stored: view 0 as in evaluation, view k with the random
            transforms of epoch k. Epoch e of a training uses view e mod K.
        dtype: what vectors are stored as; None: float32.

    Raises:
        ValueError: the tokenizer was made for other images, or an option does not go with it.
    """

    tokenizer: Tokenizer
    data: LoadedData
    run: str
    views: int = 1
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        require("views", self.views, at_least=1, at_most=MOST_VIEWS)
        if self.dtype is not None and self.tokenizer.space.discrete:
            name = type(self.tokenizer).__name__
            raise ValueError(f"dtype: {name} gives indices, which are stored as the smallest integers; leave it out")
        if self.data.carries_tokens:
            raise ValueError(
                f"data: {type(self.data).__name__} carries tokens already; name images: --data CLASS or FILE"
            )
        its, facts = self.tokenizer.facts, self.data.facts
        # As in a generator: other classes are fine, other pixels are not.
        contradiction = dataclasses.replace(its, class_names=facts.class_names).contradiction(facts)
        if contradiction is not None:
            raise ValueError(f"data: the tokenizer and the images differ in {contradiction}")

    @property
    def stored(self) -> torch.dtype:
        """What tokens are stored as."""
        size = self.tokenizer.space.codebook_size
        return (self.dtype or torch.float32) if size is None else index_dtype(size)

    def found(self, out: Path) -> Manifest | None:
        """The manifest of this very cache, whole, where it lies in a folder already; None where the folder is free.

        Raises:
            ValueError: something else lies there, or the cache is damaged.
        """
        if not _is_cache(out):
            return None
        held, mine, images = read_manifest(out), self._maker(), self._source()
        views = held.parts[Split.TRAIN.value].views
        for differs, what in (
            (held.tokenizer.sha256 != mine.sha256, f"made by {held.tokenizer}, not by {mine}"),
            (held.data.sha256 != images.sha256, f"of {held.data}, not of {images}"),
            # Of one that was made before samples were taken nothing is known.
            (held.data.sample not in (None, images.sample), f"of {held.data}, whose files have been edited since"),
            (views != self.views, f"with views: {views}, not {self.views}"),
            (held.dtype != _name(self.stored), f"in {held.dtype}, not {_name(self.stored)}"),
        ):
            if differs:
                raise ValueError(f"out: {out} holds a cache {what}; name another folder, or --overwrite")
        for part in held.parts.values():
            verify(out, part.shards)
        return held

    def write(self, out: Path, advance: Advance, *, overwrite: bool = False) -> Manifest:
        """Tokenise all images into a folder, which is whole or not there.

        Args:
            out: the folder: new, empty, or a cache that is to be overwritten.
            advance: told after each batch what is being worked on, how many images are done, and of how many.
            overwrite: replace the cache that lies there, once the new one is whole.

        Raises:
            ValueError: the folder is taken, images cannot be read, tokens not be stored, or files not be written.
        """
        if _is_cache(out) and not overwrite:
            raise ValueError(f"out: {out} holds a cache already; name another folder, or --overwrite")
        _sweep(out)
        with written_whole(out) as draft:
            draft.mkdir()
            # Images in memory are read now: reading and tokenising each have a bar.
            for split in Split:
                self.data.part(split)
            parts = {split.value: self._write_part(draft, split, advance) for split in Split}
            manifest = self._manifest(parts)
            (draft / MANIFEST).write_text(manifest.text(), encoding="utf-8")
            if overwrite:
                remove(out)
        return manifest

    def _write_part(self, folder: Path, split: Split, advance: Advance) -> CachedPart:
        part = self.data.part(split)
        views = self.views if split is Split.TRAIN else 1
        if views > 1 and self._is_still(part):
            raise ValueError(f"views: {views}, but {type(self.data).__name__}'s images are the same in every epoch")
        writer = ShardWriter(folder, split.value)
        done = 0
        for view in range(views):
            # View 0 as in evaluation.
            for rows in self._rows(part, epoch=view or None):
                writer.add(rows)
                done += len(rows["label"])
                advance(split.value, done, views * len(part))
        return CachedPart(len(part), views, writer.close())

    def _rows(self, part: Part, epoch: int | None) -> Iterator[dict[str, Tensor]]:
        view = _View(part, self.data.batch_size, epoch)
        loader = DataLoader(view, batch_size=None, num_workers=self.data.num_workers)
        tokenizer = self.tokenizer.eval()
        with torch.no_grad():
            for batch in loader:
                encoded = tokenizer.encoded(batch.image.to(tokenizer.device))
                rows = {"tokens": narrowed(encoded.tokens.cpu(), self.stored, "tokens"), "label": batch.label}
                if encoded.deviation is not None:
                    rows["deviation"] = narrowed(encoded.deviation.cpu(), self.stored, "deviation")
                yield rows

    def _is_still(self, part: Part) -> bool:
        first = torch.zeros(1, dtype=torch.int64)
        return bool(part.batch(first, known=True, epoch=0).row >= 0)

    def _manifest(self, parts: dict[str, CachedPart]) -> Manifest:
        space = self.tokenizer.space
        return Manifest(
            tokenizer=self._maker(),
            data=self._source(),
            facts=self.data.facts,
            shape=(self.tokenizer.layout.num_tokens, *(() if space.discrete else (space.width,))),
            codebook_size=space.codebook_size,
            dtype=_name(self.stored),
            parts=parts,
            arlab=arlab.__version__,
            torch=torch.__version__,
        )

    def _maker(self) -> Maker:
        return Maker(identity(self.tokenizer), type(self.tokenizer).__name__, self.run)

    def _source(self) -> Source:
        return Source(identity_of_data(self.data), self.data.spec(), self.data.sample())


class _View(Dataset[Batch]):
    """Every image once, in order, in the batches in which a generator tokenises images that are always the same."""

    def __init__(self, part: Part, batch_size: int, epoch: int | None) -> None:
        self.part = part
        self.rows = torch.arange(len(part)).split(batch_size)
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.part.batch(self.rows[number], known=False, epoch=self.epoch)


def _is_cache(out: Path) -> bool:
    """Whether a folder holds a cache, rather than nothing.

    Raises:
        ValueError: it holds something else.
    """
    if (out / MANIFEST).is_file():
        return True
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"out: {out} exists and is no cache of tokens; name a new folder")
    return False


def _sweep(out: Path) -> None:
    """Remove drafts of killed processes, which may be large."""
    for draft in out.parent.glob(f".{glob.escape(out.name)}.*.tmp"):
        number = draft.name.split(".")[-2]
        try:
            os.kill(int(number), 0)
        except (ProcessLookupError, ValueError):
            remove(draft)
        except PermissionError:
            # Another user's, and alive.
            continue


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
