"""NumPy files: every layout, every meaning of numbers and labels, and what each mistake is answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from arlab.configurable import from_spec
from arlab.data.arrays import ImageArrays
from arlab.data.data import ImageData
from arlab.data.loaders import Split
from arlab.data.transforms import CenterCrop, RandomFlip

H, W = 24, 16


def rgb(count: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, H, W, 3), dtype=np.uint8)


def npz(folder: Path, **arrays: object) -> str:
    path = folder / "set.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def pixels(data: ImageArrays, split: Split = Split.TEST) -> np.ndarray:
    """Intensities of a part, (N, H, W, C)."""
    part = data.part(split)
    image = part.batch(torch.arange(len(part)), known=False).image
    return ((image + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def everything(**options: object) -> None:
    data = ImageArrays(**options)  # type: ignore[arg-type]
    _ = data.facts, data.content(), data.part(Split.TRAIN), data.part(Split.TEST)


def told(**options: object) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        everything(**options)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(Path(str(options["file"])).parent), "ROOT")


# ---- what is read


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_training_and_test_arrays_are_known_by_name(tmp_path: Path, names: tuple[str, str, str, str]) -> None:
    images, test = rgb(20), rgb(6, 1)
    arrays = dict(zip(names, (images, np.arange(20) % 2, test, np.arange(6) % 2), strict=True))
    data = ImageArrays(file=npz(tmp_path, **arrays))
    assert (data.facts.class_names, data.facts.image_size, data.facts.channels) == (("0", "1"), (H, W), 3)
    assert data.facts.source == "set"
    assert np.array_equal(pixels(data), test)
    parts = [pixels(data, Split.TRAIN), pixels(data, Split.VALIDATION)]
    assert [len(part) for part in parts] == [18, 2]
    assert {image.tobytes() for part in parts for image in part} == {image.tobytes() for image in images}


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("arr_0", "arr_1")])
def test_one_array_is_split(tmp_path: Path, names: tuple[str, str]) -> None:
    data = ImageArrays(file=npz(tmp_path, **dict(zip(names, (rgb(), np.arange(20) % 4), strict=True))))
    assert [len(pixels(data, split)) for split in Split] == [16, 2, 2]
    assert data.facts.num_classes == 4


def test_named_arrays_and_no_labels(tmp_path: Path) -> None:
    data = ImageArrays(file=npz(tmp_path, cells=rgb(), y=np.arange(20)), images="cells")
    assert data.facts.class_names == ()
    assert data.part(Split.TEST).batch(torch.tensor([0]), known=False).label.tolist() == [0]


def test_npy_files_side_by_side(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", rgb())
    np.save(tmp_path / "labels.npy", np.array(["b", "a"] * 10))
    data = ImageArrays(file=str(tmp_path / "images.npy"), labels="labels.npy")
    assert data.facts.class_names == ("a", "b")
    assert isinstance(data._pictures["images.npy"].array, np.memmap)
    assert len(pixels(data)) == 2


@pytest.mark.parametrize("layout", ["HW", "HW1", "1HW", "3HW", "HW3"])
def test_every_layout(tmp_path: Path, layout: str) -> None:
    array = rgb() if "3" in layout else rgb()[..., :1]
    stored = {"HW": array[..., 0], "HW1": array, "1HW": array.transpose(0, 3, 1, 2)}.get(layout, array)
    stored = array.transpose(0, 3, 1, 2) if layout == "3HW" else stored
    data = ImageArrays(file=npz(tmp_path, x_train=stored, x_test=stored))
    assert (data.facts.channels, data.facts.image_size) == (array.shape[-1], (H, W))
    assert np.array_equal(pixels(data), array)


@pytest.mark.parametrize(
    ("convert", "said"),
    [
        (lambda x: x, ""),
        (lambda x: x.astype(np.int64), "intensities 0 .. 255"),
        (lambda x: (x / 255).astype(np.float32), "0 is black, 1 white"),
        (lambda x: x / 127.5 - 1, "-1 is black, 1 white"),
    ],
)
def test_numbers_are_understood_and_that_is_said(
    tmp_path: Path, convert: object, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(convert)
    path = npz(tmp_path, x_train=convert(rgb()), x_test=convert(rgb(5, 1)))
    data = ImageArrays(file=path)
    assert np.array_equal(pixels(data), rgb(5, 1))
    _ = pixels(data, Split.TRAIN)
    assert capsys.readouterr().err == (f"data: {path}, array 'x_train': {said}\n" if said else "")


def test_booleans_are_black_and_white(tmp_path: Path) -> None:
    array = rgb()[..., 0] > 99
    data = ImageArrays(file=npz(tmp_path, x_train=array, x_test=array))
    assert np.array_equal(pixels(data)[..., 0], np.where(array, 255, 0))


def test_another_size_and_transforms(tmp_path: Path) -> None:
    data = ImageArrays(file=npz(tmp_path, x=rgb()), image_size=(8, 8))
    assert data.facts.image_size == (8, 8)
    assert pixels(data).shape[1:] == (8, 8, 3)
    flipped = ImageArrays(file=npz(tmp_path, x=rgb()), transforms=[RandomFlip(probability=1.0)], batch_size=4)
    plain = ImageArrays(file=npz(tmp_path, x=rgb()), batch_size=4)
    one, other = (next(iter(each.train_dataloader())) for each in (flipped, plain))
    assert torch.equal(one.image, other.image.flip(-1))
    assert np.array_equal(pixels(flipped), pixels(plain))
    assert from_spec(flipped.spec(), ImageData).spec() == flipped.spec()
    assert ImageArrays(file=npz(tmp_path, x=rgb()), image_size=8, transforms=[CenterCrop()]).facts.image_size == (8, 8)


def test_content_is_what_the_file_holds(tmp_path: Path) -> None:
    data = ImageArrays(file=npz(tmp_path, x=rgb()))
    content = data.content()
    (tmp_path / "other").mkdir()
    assert ImageArrays(file=npz(tmp_path / "other", x=rgb())).content() == content
    assert ImageArrays(file=npz(tmp_path / "other", x=rgb(seed=1))).content() != content


def test_class_names_are_given(tmp_path: Path) -> None:
    path = npz(tmp_path, x=rgb(), y=np.arange(20) % 2)
    assert ImageArrays(file=path, class_names=["cat", "dog", "owl"]).facts.class_names == ("cat", "dog", "owl")
    assert told(file=path, class_names=["cat"]) == "data.class_names: 1 names, but there is a label 1"
    assert told(file=npz(tmp_path, x=rgb()), class_names=["cat"]) == "data.class_names: there are no labels to name"


# ---- mistakes


def test_files(tmp_path: Path) -> None:
    assert told(file=str(tmp_path / "no.npz")) == "data.file: no such file: ROOT/no.npz"
    (tmp_path / "a.txt").write_text("")
    assert told(file=str(tmp_path / "a.txt")) == "data.file: ROOT/a.txt must be a .npz or a .npy file"
    for name in ("a.npz", "a.npy"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        message = told(file=str(tmp_path / name))
        assert message.startswith(f"data.file: ROOT/{name} is cut off or damaged (")
        assert message.endswith("); copy it again")
    path = npz(tmp_path, x=rgb(200))
    Path(path).write_bytes(Path(path).read_bytes()[:100_000])
    assert told(file=path) == "data.file: ROOT/set.npz is cut off or damaged (File is not a zip file); copy it again"
    np.save(tmp_path / "b.npy", rgb())
    (tmp_path / "a.npy").unlink()
    assert told(file=str(tmp_path / "b.npy"), labels="l.npy") == (
        "data.labels: no array 'l.npy' beside ROOT/b.npy; there are: b.npy"
    )


def test_names(tmp_path: Path) -> None:
    path = npz(tmp_path, cells=rgb(), kinds=np.arange(20))
    assert told(file=path) == "data.images: which array of ROOT/set.npz holds images? cells, kinds"
    assert told(file=path, images="cell") == ("data.images: no array 'cell' in ROOT/set.npz; there are: cells, kinds")
    assert told(file=path, images="cells", labels="kind") == (
        "data.labels: no array 'kind' in ROOT/set.npz; there are: cells, kinds"
    )
    assert told(file=npz(tmp_path, x_train=rgb(), y_train=np.arange(20), x_test=rgb())) == (
        "data.test_labels: give labels for both training and test images, or for neither"
    )


def one_value(image: int, value: float) -> np.ndarray:
    array = np.full((9, 8, 8), 0.5)
    array[image, 3, 4] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((9, 8), np.uint8), "array 'x' has shape (9, 8); images are (N, H, W), (N, H, W, C) or (N, C, H, W)"),
        (
            np.zeros((9, 3, 8, 3), np.uint8),
            "array 'x' of shape (9, 3, 8, 3) is (N, H, W, C) or (N, C, H, W); which, cannot be told",
        ),
        (
            np.zeros((9, 8, 8, 4), np.uint8),
            "array 'x' of shape (9, 8, 8, 4) has neither 1 nor 3 channels, first or last",
        ),
        (np.zeros((0, 8, 8), np.uint8), "array 'x' of shape (0, 8, 8) holds no image"),
        (np.full((9, 8, 8), "a"), "array 'x' has type <U1; images are numbers"),
        (np.full((9, 8, 8), 300), "array 'x' has int64 values from 300 to 300; give 8-bit intensities 0 .. 255"),
        (
            np.full((9, 8, 8), 1),
            "array 'x' has int64 values from 1 to 1; give bool for black and white, or intensities 0 .. 255",
        ),
        (
            np.arange(9 * 8 * 8, dtype=np.uint8).reshape(9, 8, 8) % 2,
            "array 'x' has uint8 values from 0 to 1; give bool for black and white, or intensities 0 .. 255",
        ),
        (
            np.zeros((9, 8, 8), np.uint8),
            "array 'x' has uint8 values from 0 to 0; give bool for black and white, or intensities 0 .. 255",
        ),
        (
            np.full((9, 8, 8), 7.5),
            "array 'x' has float64 values from 7.5 to 7.5; give values in [0, 1] or [-1, 1], or uint8",
        ),
        (one_value(5, np.nan), "image 5 of array 'x' has values that are infinite or no number"),
        (one_value(6, np.inf), "image 6 of array 'x' has values that are infinite or no number"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, array: np.ndarray, message: str) -> None:
    assert told(file=npz(tmp_path, x=array)) == f"data.images: {message}"


def test_objects_are_not_loaded(tmp_path: Path) -> None:
    images = np.empty(9, dtype=object)
    message = "of ROOT/{} holds Python objects, which are not loaded; save numbers or strings of one type"
    assert told(file=npz(tmp_path, x=images)) == f"data.file: array 'x' {message.format('set.npz')}"
    labels = np.array([*range(19), "a"], dtype=object)
    assert told(file=npz(tmp_path, x=rgb(), y=labels)) == f"data.file: array 'y' {message.format('set.npz')}"
    np.save(tmp_path / "x.npy", images)
    assert told(file=str(tmp_path / "x.npy")) == f"data.file: array 'x.npy' {message.format('x.npy')}"


def test_training_and_test_arrays_must_agree(tmp_path: Path) -> None:
    assert told(file=npz(tmp_path, x_train=rgb(), x_test=rgb()[:, :8])) == (
        "data.test_images: training and test images differ in shape: (20, 24, 16, 3) and (20, 8, 16, 3)"
    )
    assert told(file=npz(tmp_path, x_train=rgb(), x_test=rgb() / 255)) == (
        "data.test_images: in training images intensities 0 .. 255, in test images 0 is black, 1 white"
    )


@pytest.mark.parametrize(("train", "test"), [(np.uint8, np.int64), (np.int64, np.uint8), (np.uint16, np.int32)])
def test_integers_of_any_type_agree(tmp_path: Path, train: type, test: type) -> None:
    data = ImageArrays(file=npz(tmp_path, x_train=rgb().astype(train), x_test=rgb(5, 1).astype(test)))
    assert np.array_equal(pixels(data), rgb(5, 1))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(19), "19 labels in 'y' for 20 images"),
        (np.arange(20.0), "array 'y' has shape (20,) and type float64; labels are one integer or string per image"),
        (
            np.eye(20, dtype=int),
            "array 'y' has shape (20, 20) and type int64; labels are one integer or string per image",
        ),
        (np.arange(20) - 1, "label -1 is negative; number classes from 0"),
        (
            np.arange(20) % 2 * 2,
            "no image has label 1, but there are labels up to 2; number classes without gaps, or give class_names",
        ),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    assert told(file=npz(tmp_path, x=rgb(), y=labels)) == f"data.labels: {message}"


def test_numbers_and_strings_do_not_mix(tmp_path: Path) -> None:
    path = npz(tmp_path, x_train=rgb(), y_train=np.arange(20), x_test=rgb(), y_test=np.array(["a"] * 20))
    assert told(file=path) == "data.labels: 'y_train' and 'y_test' are not both numbers, nor both strings"
    path = npz(tmp_path, x=rgb(), y=np.array(["a", "b"] * 10))
    assert told(file=path, class_names=["cat", "dog"]) == (
        "data.class_names: labels are strings already: a, b; leave it out"
    )
    assert ImageArrays(file=path, class_names=["b", "a"]).facts.class_names == ("b", "a")
