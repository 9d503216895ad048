"""Data sets of the package datasets, local ones only: columns, parts, and what each mistake is answered."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from arlab.data.huggingface import HuggingFaceDataset
from arlab.data.loaders import Split
from tests.data.pictures import fill, picture

datasets = pytest.importorskip("datasets")
SIZE = (10, 12)


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def made(count: int, **columns: list[object]) -> object:
    features = {
        "picture": datasets.Image(),
        "kind": datasets.ClassLabel(names=["cat", "dog"]),
        "number": datasets.Value("int64"),
        "word": datasets.Value("string"),
        "other": datasets.Image(),
        "third": datasets.ClassLabel(names=["a"]),
    }
    columns = {"picture": [picture(n) for n in range(count)], **columns}
    return datasets.Dataset.from_dict(columns, features=datasets.Features({name: features[name] for name in columns}))


def data(path: Path, **options: object) -> HuggingFaceDataset:
    settings: dict[str, object] = {"image_size": SIZE, "batch_size": 4, **options}
    return HuggingFaceDataset(path=str(path), **settings)  # type: ignore[arg-type]


def told(path: Path | str, **options: object) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        _ = data(Path(path), **options).facts
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(path), "ROOT")


def test_one_set_is_split(tmp_path: Path) -> None:
    made(20, kind=[n % 2 for n in range(20)]).save_to_disk(tmp_path / "set")
    one = data(tmp_path / "set")
    assert (one.facts.class_names, one.facts.image_size, one.facts.source) == (("cat", "dog"), SIZE, "set")
    assert [len(one.part(split)) for split in Split] == [16, 2, 2]
    for split in Split:
        rows = one._rows.train if split is Split.TRAIN else getattr(one._rows, split.value)
        batch = one.part(split).batch(torch.arange(len(rows)), known=False)
        for row, label, image in zip(rows, batch.label, batch.image, strict=True):
            assert label == row % 2
            pixel = ((image + 1) * 127.5).round().permute(1, 2, 0)
            assert np.array_equal(pixel.numpy(), np.asarray(picture(row)))


def test_parts_are_taken_by_name_and_content_is_theirs(tmp_path: Path) -> None:
    parts = {"train": made(9), "dev": made(3), "test": made(2)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "one")
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "other")
    one, other = data(tmp_path / "one"), data(tmp_path / "other")
    assert [len(one.part(split)) for split in Split] == [9, 3, 2]
    assert one.facts.class_names == ()
    assert one.content() == other.content()
    datasets.DatasetDict({**parts, "test": made(3)}).save_to_disk(tmp_path / "third")
    assert data(tmp_path / "third").content() != one.content()


@pytest.mark.parametrize(("count", "looked_at"), [(3, 3), (4, 4), (7, 4), (9, 3)])
def test_content_looks_at_no_more_images_than_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, looked_at: int
) -> None:
    monkeypatch.setattr("arlab.data.huggingface._LOOKED_AT", 4)
    datasets.DatasetDict({"train": made(count), "test": made(1)}).save_to_disk(tmp_path)
    one = data(tmp_path)
    _, *images = one._entries(Split.TRAIN, one._sets[Split.TRAIN])
    assert len(images) == looked_at


def test_a_folder_that_it_can_load(tmp_path: Path) -> None:
    one = data(fill(tmp_path / "images", {"cat": 6, "dog": 6}), channels=1, in_memory=False)
    assert one.facts.class_names == ("cat", "dog")
    assert next(iter(one.train_dataloader())).image.shape == (4, 1, *SIZE)


def test_columns_are_named(tmp_path: Path) -> None:
    made(6, word=["b", "a"] * 3, number=[0, 1, 2] * 2).save_to_disk(tmp_path)
    assert data(tmp_path).facts.class_names == ()
    assert data(tmp_path, label_column="word").facts.class_names == ("a", "b")
    assert data(tmp_path, label_column="number").facts.class_names == ("0", "1", "2")
    columns = "picture (Image), word (Value), number (Value)"
    assert told(tmp_path, label_column="kind") == f"data.label_column: ROOT has no column 'kind'; it has {columns}"
    assert told(tmp_path, image_column="word") == f"data.image_column: ROOT has no images in word; it has {columns}"


def test_columns_that_cannot_be_told_apart(tmp_path: Path) -> None:
    made(3, other=[picture(9)] * 3).save_to_disk(tmp_path / "images")
    assert told(tmp_path / "images") == "data.image_column: several columns of ROOT could be meant: picture, other"
    assert data(tmp_path / "images", image_column="other").facts.num_classes == 0
    made(3, kind=[0, 1, 0], third=[0, 0, 0]).save_to_disk(tmp_path / "classes")
    assert told(tmp_path / "classes") == "data.label_column: several columns of ROOT could be meant: kind, third"
    made(3, number=[1, 2, 3]).remove_columns("picture").save_to_disk(tmp_path / "none")
    assert told(tmp_path / "none") == "data.image_column: ROOT has no images in any column; it has number (Value)"


def test_no_training_part(tmp_path: Path) -> None:
    datasets.DatasetDict({"dev": made(3), "test": made(3)}).save_to_disk(tmp_path)
    assert told(tmp_path) == "data.path: ROOT has no part called train; it has dev, test"


def test_without_classes_of_its_own(tmp_path: Path) -> None:
    made(3, kind=[0, -1, 0]).save_to_disk(tmp_path)
    assert told(tmp_path) == "data.labels: label -1 is negative; number classes from 0"


def test_offline_and_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = importlib.import_module("huggingface_hub")

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(hub.HfApi, "dataset_info", unreachable)
    before = datasets.config.HF_HUB_OFFLINE
    start = time.monotonic()
    message = told("nobody/nothing")
    assert time.monotonic() - start < 5
    assert message.startswith("data.path: 'ROOT' cannot be loaded (no such folder here, and the hub gives none: ")
    assert before == datasets.config.HF_HUB_OFFLINE


def test_the_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert told(tmp_path) == "data: HuggingFaceDataset needs the package datasets: pip install datasets"
