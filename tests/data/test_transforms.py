"""Transforms: which rectangle is cut, that evaluation does not draw, that what is drawn stays within its bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from arlab.configurable import from_spec
from arlab.data.digits import Digits
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.pictures import Arrays, PictureError, Transformed
from arlab.data.transforms import CenterCrop, Pad, RandomCrop, RandomFlip, Resize, Transform, largest
from tests.data.pictures import picture

ALL = (CenterCrop(), Resize(), Pad(), RandomCrop(), RandomFlip())


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def coordinates(height: int, width: int) -> Image.Image:
    """Red is the column, green the row."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8))


@pytest.mark.parametrize("transform", [each for each in ALL if each.sized], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("size", [(24, 16), (16, 24), (7, 7), (1, 5)])
@pytest.mark.parametrize("image", [(10, 12), (50, 8), (24, 16), (3, 100), (1, 1)])
def test_what_says_so_gives_the_target_size(
    transform: Transform, size: tuple[int, int], image: tuple[int, int]
) -> None:
    for mode in ("L", "RGB"):
        for draw in (None, drawn()):
            done = transform.apply(picture(0, image).convert(mode), size, draw)
            assert (done.height, done.width, done.mode) == (*size, mode)


@pytest.mark.parametrize(
    ("image", "size", "expected"),
    [((10, 12), (5, 5), (10, 10)), ((40, 30), (24, 16), (40, 40 * 16 / 24)), ((9, 100), (2, 1), (9, 4.5))],
)
def test_the_largest_rectangle_touches_two_sides_and_has_the_targets_shape(
    image: tuple[int, int], size: tuple[int, int], expected: tuple[float, float]
) -> None:
    width, height = largest(picture(0, image), size)
    assert (height, width) == pytest.approx(expected)
    assert width * size[0] == pytest.approx(height * size[1])


def test_a_centred_rectangle_that_need_not_be_scaled_is_copied() -> None:
    image = picture(0, (24, 21))
    assert np.array_equal(pixels(CenterCrop().apply(image, (24, 16), None)), pixels(image)[:, 2:18])
    assert np.array_equal(pixels(CenterCrop().apply(picture(1, (5, 4)), (5, 4), None)), pixels(picture(1, (5, 4))))


def test_center_crop_keeps_the_centre_and_resize_the_borders() -> None:
    image = coordinates(40, 200)
    cropped = pixels(CenterCrop().apply(image, (20, 20), None)).astype(int)
    # 200 columns wide, 40 of them in the middle: 80 to 119, two pixels of the picture to one of the result.
    assert cropped[10, :, 0] == pytest.approx(80.5 + 2 * np.arange(20), abs=1)
    assert cropped[:, 10, 1] == pytest.approx(0.5 + 2 * np.arange(20), abs=1)
    resized = pixels(Resize().apply(image, (20, 20), None)).astype(int)
    assert resized[10, :, 0] == pytest.approx(4.5 + 10 * np.arange(20), abs=1)


@pytest.mark.parametrize(("color", "value"), [("white", 255), ("#102030", (16, 32, 48)), ("black", 0)])
def test_pad_keeps_the_whole_picture_and_fills_the_rest(color: str, value: int | tuple[int, int, int]) -> None:
    done = pixels(Pad(color=color).apply(picture(0, (10, 20)), (24, 16), None))
    assert (done[:8] == value).all()
    assert (done[16:] == value).all()
    whole = picture(0, (10, 20)).resize((16, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(done[8:16], pixels(whole))


def test_random_crop_covers_at_least_its_share_and_lies_inside() -> None:
    image, size = coordinates(100, 200), (10, 20)
    areas, lefts = [], []
    for seed in range(300):
        done = pixels(RandomCrop(min_scale=0.25).apply(image, size, drawn(seed))).astype(float)
        width = (done[5, -1, 0] - done[5, 0, 0]) * 20 / 19
        height = (done[-1, 10, 1] - done[0, 10, 1]) * 10 / 9
        assert width == pytest.approx(2 * height, rel=0.1)
        areas.append(width * height / (100 * 200))
        lefts.append(done[5, 0, 0])
    assert min(areas) == pytest.approx(0.25, abs=0.03)
    assert max(areas) == pytest.approx(1, abs=0.03)
    assert np.mean(areas) == pytest.approx(0.625, abs=0.04)
    assert max(lefts) > 80


def test_random_crop_of_the_largest_rectangle_only_moves() -> None:
    image = picture(0, (24, 30))
    places = set()
    for seed in range(100):
        done = pixels(RandomCrop(min_scale=1.0).apply(image, (24, 16), drawn(seed)))
        places |= {left for left in range(15) if np.array_equal(done, pixels(image)[:, left : left + 16])}
    assert places == set(range(15))


def test_flip_is_its_own_inverse_and_moves_columns_only() -> None:
    image, flip = picture(0, (10, 12)), RandomFlip(probability=1.0)
    once = flip.apply(image, (10, 12), drawn())
    assert np.array_equal(pixels(once), pixels(image)[:, ::-1])
    assert np.array_equal(pixels(flip.apply(once, (10, 12), drawn())), pixels(image))
    assert RandomFlip(probability=0.0).apply(image, (10, 12), drawn()) is image


def test_flip_has_its_probability() -> None:
    image = picture(0)
    flipped = sum(RandomFlip(probability=0.3).apply(image, (1, 1), drawn(seed)) is not image for seed in range(1000))
    assert flipped == pytest.approx(300, abs=45)


def test_evaluation_draws_nothing() -> None:
    image = picture(0, (40, 30))
    assert RandomFlip().apply(image, (24, 16), None) is image
    centred = CenterCrop().apply(image, (24, 16), None)
    assert np.array_equal(pixels(RandomCrop().apply(image, (24, 16), None)), pixels(centred))


@pytest.mark.parametrize("transform", ALL, ids=lambda each: type(each).__name__)
def test_drawing_touches_no_other_randomness(transform: Transform) -> None:
    before = torch.get_rng_state()
    transform.apply(picture(0), (6, 6), drawn())
    assert torch.equal(torch.get_rng_state(), before)
    assert from_spec(transform.spec(), Transform).spec() == transform.spec()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomCrop(min_scale=0.0), "transforms.min_scale: must be positive and at most 1, got 0.0"),
        (lambda: RandomFlip(probability=1.5), "transforms.probability: must be from 0 to 1, got 1.5"),
        (
            lambda: Pad(color="whiteish"),
            "data.transforms.color: 'whiteish' is no colour; give a name (white) or a number (#ffffff)",
        ),
        (
            lambda: Digits(transforms=[RandomFlip(), CenterCrop()]),
            "data.transforms: CenterCrop mixes intensities, but these images take 17 exact ones; "
            "only RandomFlip keeps them",
        ),
    ],
)
def test_mistakes(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError) as told:  # noqa: PT011
        build()
    assert str(told.value) == message


def test_an_image_of_another_size_is_named() -> None:
    arrays = Arrays([np.zeros((9, 8, 3), np.uint8)])
    part = Transformed(arrays, torch.zeros(1), [RandomFlip()], size=(24, 16), seed=0)
    with pytest.raises(PictureError) as told:
        part.batch(torch.tensor([0]), known=True)
    assert str(told.value) == (
        "data.transforms: image 0 comes out at (9, 8), not at image_size (24, 16); add CenterCrop, Resize or Pad"
    )


# ---- the shipped sets


def test_flipped_digits_are_exact() -> None:
    data = Digits(transforms=[RandomFlip(probability=1.0)])
    plain = Digits()
    batch, same = next(iter(data.train_dataloader())), next(iter(plain.train_dataloader()))
    assert torch.equal(batch.image, same.image.flip(-1))
    assert torch.equal(batch.label, same.label)
    assert (batch.row == -1).all()
    assert data.still() is None
    assert torch.equal(next(iter(data.val_dataloader())).image, next(iter(plain.val_dataloader())).image)


def test_deterministic_transforms_are_done_once() -> None:
    data = FashionMNIST(transforms=[CenterCrop()])
    batch, same = next(iter(data.train_dataloader())), next(iter(FashionMNIST().train_dataloader()))
    assert all(torch.equal(one, other) for one, other in zip(batch[:3], same[:3], strict=True))
    still = data.still()
    assert still is not None
    assert next(still).row.tolist() == list(range(64))
