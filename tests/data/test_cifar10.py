"""The binary version of CIFAR-10, on made-up files (ten images a file in the place of ten thousand)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from arlab.data import cifar10
from arlab.data.cifar10 import CIFAR10
from arlab.data.loaders import Split
from arlab.data.transforms import RandomFlip

FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cifar10, "_RECORDS", 10)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number, name in enumerate(FILES):
        record = np.random.default_rng(number).integers(0, 256, (10, 3073), dtype=np.uint8)
        record[:, 0] = np.arange(10)
        record.tofile(folder / name)
    return folder


def data(root: Path, **options: object) -> CIFAR10:
    settings: dict[str, object] = {"validation_size": 8, "batch_size": 4, **options}
    return CIFAR10(root=str(root), **settings)  # type: ignore[arg-type]


def test_records_are_read_in_their_order(root: Path) -> None:
    made = data(root)
    assert [len(made.part(split)) for split in Split] == [42, 8, 10]
    record = np.fromfile(root / "data_batch_2.bin", np.uint8).reshape(10, 3073)[3]
    assert np.array_equal(made.parts.train.pixel_NCHW[13, 2].numpy().ravel(), record[2049:])
    assert made.parts.train.pixel_NCHW[13, 0, 1, 2] == record[1 + 32 + 2]
    assert made.parts.train.label_N[13] == 3
    assert made.facts.class_names[3] == "cat"


def test_the_folder_above_will_do_and_content_is_its_own(root: Path) -> None:
    assert data(root.parent).content() == data(root).content()
    before = data(root).content()
    path = root / "test_batch.bin"
    path.write_bytes(path.read_bytes()[::-1])
    assert data(root).content() != before


def test_flips(root: Path) -> None:
    flipped, plain = data(root, transforms=[RandomFlip(probability=1.0)]), data(root)
    one, other = (next(iter(each.train_dataloader())) for each in (flipped, plain))
    assert torch.equal(one.image, other.image.flip(-1))


def everything(root: Path, **options: object) -> None:
    made = data(root, **options)
    _ = made.content(), made.parts


def told(root: Path, **options: object) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        everything(root, **options)
    return str(error.value).replace(str(root), "ROOT")


def test_mistakes(root: Path) -> None:
    assert told(root / "no") == "data.root: no such folder: ROOT"
    assert told(root, validation_size=50) == "data.validation_size: 50 leaves nothing of 50 training images"
    path = root / "data_batch_4.bin"
    kept = path.read_bytes()
    path.write_bytes(kept[:-5])
    assert told(root) == (
        "data.root: ROOT/data_batch_4.bin has 30725 bytes, expected 30730 (10 records of 3073); copy it again"
    )
    path.write_bytes(kept[:3073] + b"\x0a" + kept[3074:])
    assert told(root) == "data.root: ROOT/data_batch_4.bin, record 1: label 10, expected 0 .. 9 (is it CIFAR-10?)"
    path.unlink()
    assert told(root) == (
        "data.root: ROOT/data_batch_4.bin is missing; CIFAR10 reads the binary version (cifar-10-batches-bin)"
    )
