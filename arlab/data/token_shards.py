"""Tokens of many images as files of safetensors: written once, then read from the disk where they lie.

A shard holds ``tokens`` (R, N) or (R, N, C), ``label`` (R,) and, where tokens are uncertain, ``deviation`` (R, N, C).

Letters: R rows of a file, B rows asked for, N tokens of an image, C width of a token vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from arlab.data.token_manifest import Shard

SHARD_BYTES = 64 * 2**20
_BLOCK = 2**20
_INDICES = (torch.uint8, torch.int16, torch.int32)


def index_dtype(codebook_size: int) -> torch.dtype:
    """The smallest integers that can be looked up by and hold 0 .. codebook_size - 1."""
    return next((dtype for dtype in _INDICES if codebook_size - 1 <= torch.iinfo(dtype).max), torch.int64)


def narrowed(values: Tensor, dtype: torch.dtype, what: str) -> Tensor:
    """Values as they are stored.

    Raises:
        ValueError: they do not survive it.
    """
    stored = values.to(dtype)
    if dtype.is_floating_point and not bool(stored.isfinite().all()):
        cause = "the tokenizer gives such" if not bool(values.isfinite().all()) else f"too large for {dtype}"
        raise ValueError(f"{what}: values that are not finite ({cause})")
    if not dtype.is_floating_point and not torch.equal(stored.to(values.dtype), values):
        raise ValueError(f"{what}: indices up to {int(values.max())} lie beyond the tokenizer's codebook")
    return stored


class ShardWriter:
    """Writes rows into files of equal length.

    Args:
        folder: where to.
        name: what the files' names begin with.
        most: bytes of a file.
    """

    def __init__(self, folder: Path, name: str, most: int = SHARD_BYTES) -> None:
        self.folder = folder
        self.name = name
        self.most = most
        self.shards: list[Shard] = []
        self._waiting: list[Mapping[str, Tensor]] = []
        self._rows = 0

    def add(self, rows: Mapping[str, Tensor]) -> None:
        """Rows to be written, as tensors of equal length by name.

        Raises:
            ValueError: they cannot be written.
        """
        self._waiting.append(rows)
        self._rows += _length(rows)
        full = max(1, self.most // _bytes_of_row(rows))
        if self._rows >= full:
            joined = self._joined()
            whole = self._rows // full * full
            for start in range(0, whole, full):
                self._write({key: value[start : start + full] for key, value in joined.items()})
            self._waiting = [{key: value[whole:] for key, value in joined.items()}]
            self._rows -= whole

    def close(self) -> tuple[Shard, ...]:
        """Write what is left; all files that were written.

        Raises:
            ValueError: it cannot be written.
        """
        if self._rows:
            self._write(self._joined())
        self._waiting, self._rows = [], 0
        return tuple(self.shards)

    def _joined(self) -> dict[str, Tensor]:
        return {key: torch.cat([rows[key] for rows in self._waiting]) for key in self._waiting[0]}

    def _write(self, rows: Mapping[str, Tensor]) -> None:
        path = self.folder / f"{self.name}-{len(self.shards):05d}.safetensors"
        try:
            # The format writes the whole memory of a slice otherwise.
            save_file({key: value.contiguous().clone() for key, value in rows.items()}, path)
        except SafetensorError as error:
            raise ValueError(f"{path}: cannot be written: {error}") from error
        self.shards.append(Shard(path.name, _length(rows), path.stat().st_size, _sha256(path)))


class ShardReader:
    """Rows of several files as of one table, mapped into memory: what is not asked for is not kept there.

    Args:
        folder: where the files lie.
        shards: which, in order.

    Raises:
        ValueError: a file is missing, cut off or damaged.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        verify(folder, shards)
        self.tables = [dict(_mapped(folder / shard.file)) for shard in shards]
        rows = [shard.rows for shard in shards]
        if [_length(table) for table in self.tables] != rows:
            raise ValueError(f"{folder}: its shards do not hold as many rows as its manifest says; {_REMEDY}")
        self.end = torch.tensor(rows).cumsum(0)

    def rows(self, index_B: Tensor) -> dict[str, Tensor]:
        """These rows of all tensors, by name."""
        shard_B = torch.searchsorted(self.end, index_B, right=True)
        found = {key: value.new_empty((len(index_B), *value.shape[1:])) for key, value in self.tables[0].items()}
        for shard in shard_B.unique().tolist():
            here_B = shard_B == shard
            inside = index_B[here_B] - (int(self.end[shard - 1]) if shard else 0)
            for key, value in self.tables[shard].items():
                found[key][here_B] = value[inside]
        return found


def verify(folder: Path, shards: Sequence[Shard]) -> None:
    """See that files are what was written.

    Raises:
        ValueError: one is missing, cut off or damaged.
    """
    for shard in shards:
        path = folder / shard.file
        if not path.is_file():
            raise ValueError(f"{path}: is missing; {_REMEDY}")
        size = path.stat().st_size
        if size != shard.size:
            raise ValueError(f"{path}: has {size} bytes, {shard.size} were written; {_REMEDY}")
        if _sha256(path) != shard.sha256:
            raise ValueError(f"{path}: is damaged (its SHA-256 is not what was written); {_REMEDY}")


_REMEDY = "make the cache again: arlab cache ... --overwrite"


def _mapped(path: Path) -> Iterator[tuple[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  (it is no mapping)
            yield key, file.get_tensor(key)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _length(rows: Mapping[str, Tensor]) -> int:
    return len(next(iter(rows.values())))


def _bytes_of_row(rows: Mapping[str, Tensor]) -> int:
    return sum(value[:1].numel() * value.element_size() for value in rows.values())
