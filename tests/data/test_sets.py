"""The embedded image sets: their parts, facts and values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from arlab.configurable import from_spec
from arlab.data.data import Batch, ImageData
from arlab.data.digits import Digits
from arlab.data.emoji import Emoji
from arlab.data.facts import DataFacts
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.memory import MemoryData


@pytest.mark.parametrize(
    ("data", "sizes"),
    [(FashionMNIST(), (4500, 500, 1000)), (Digits(), (1300, 200, 297)), (Emoji(), (3000, 365, 400))],
    ids=["fashion", "digits", "emoji"],
)
def test_parts_are_disjoint_labelled_and_in_range(data: MemoryData, sizes: tuple[int, int, int]) -> None:
    parts = [data.parts.train, data.parts.validation, data.parts.test]
    assert tuple(len(part) for part in parts) == sizes
    seen = [{image.numpy().tobytes() for image in part.pixel_NCHW} for part in parts]
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    for part in parts:
        assert part.pixel_NCHW.shape[1:] == (data.facts.channels, *data.facts.image_size)
        assert set(part.label_N.tolist()) == set(range(data.facts.num_classes))
        image = part.batch(torch.arange(len(part)), known=False).image
        assert image.dtype == torch.float32
        assert (float(image.min()), float(image.max())) == (-1.0, 1.0)


def test_fashion_parts_are_balanced() -> None:
    parts = FashionMNIST().parts
    for part in (parts.train, parts.validation, parts.test):
        assert len(set(torch.bincount(part.label_N).tolist())) == 1


def rows(loader: DataLoader[Batch]) -> list[int]:
    return [row for batch in loader for row in batch.row.tolist()]


def test_loaders_give_rows_for_training_images_only() -> None:
    data = Digits(batch_size=64)
    assert len(set(rows(data.train_dataloader()))) == 1300 // 64 * 64
    assert rows(data.val_dataloader()) == [-1] * 200
    assert rows(data.test_dataloader()) == [-1] * 297
    batch = next(iter(data.train_dataloader()))
    expected = data.parts.train.pixel_NCHW[batch.row] / 8 - 1
    assert torch.equal(batch.image, expected)
    assert torch.equal(batch.label, data.parts.train.label_N[batch.row])


def test_facts_do_not_read_the_images() -> None:
    data = FashionMNIST()
    assert data.facts.num_classes == 10
    assert data.facts.dims == 784
    assert data.facts.levels == 256
    assert data._parts is None


def test_intensities_are_those_of_the_facts() -> None:
    assert Digits().facts.levels == Digits().parts.train.levels == 17
    with pytest.raises(ValueError, match="intensity 16 lies beyond their 16 levels"):
        replace(Digits().parts.train, levels=16)

    class Contradicting(Digits):
        @property
        def facts(self) -> DataFacts:
            return replace(super().facts, levels=256)

    with pytest.raises(ValueError, match=r"data\.facts: levels 256 against 17 of the images"):
        _ = Contradicting().parts
    assert Contradicting().facts.contradiction(Digits().facts) == "levels: 256 against 17"
    with pytest.raises(ValueError, match=r"facts\.levels: must be at least 2, got 1"):
        replace(Digits().facts, levels=1)


@pytest.mark.parametrize("cls", [FashionMNIST, Digits])
def test_sets_are_rebuilt_from_their_spec(cls: type[FashionMNIST] | type[Digits]) -> None:
    data = cls(batch_size=5, seed=3, validation_size=20)
    assert from_spec(data.spec(), ImageData).spec() == data.spec()


@pytest.mark.parametrize(
    ("options", "key"), [({"batch_size": 0}, "batch_size"), ({"validation_size": 0}, "validation_size")]
)
def test_impossible_options_are_refused(options: dict[str, int], key: str) -> None:
    with pytest.raises(ValueError, match=f"data.{key}"):
        FashionMNIST(**options)


@pytest.mark.parametrize("cls", [FashionMNIST, Digits])
def test_a_validation_part_as_large_as_the_set_is_refused(cls: type[FashionMNIST] | type[Digits]) -> None:
    with pytest.raises(ValueError, match=r"data\.validation_size: 5000 leaves nothing"):
        _ = cls(validation_size=5000).parts
