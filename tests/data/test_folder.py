"""A folder of images: every kind of file, what counts as a class or a part, and what each mistake is answered."""

from __future__ import annotations

import gc
import multiprocessing
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from arlab.configurable import from_spec
from arlab.data.data import ImageData
from arlab.data.folder import ImageFolder
from arlab.data.loaders import Split
from arlab.data.transforms import CenterCrop, RandomCrop, RandomFlip, Resize, Transform
from tests.data.pictures import fill, picture, save

SIZE = (24, 16)
MANY = {"cat": 12, "dog": 9, "owl": 6}


def folder(root: Path, **options: object) -> ImageFolder:
    settings: dict[str, object] = {"image_size": SIZE, "batch_size": 4, **options}
    return ImageFolder(root=str(root), **settings)  # type: ignore[arg-type]


def names(data: ImageFolder, split: Split) -> list[str]:
    return data._listings[split].names


def one(root: Path, **options: object) -> torch.Tensor:
    """The only test image, as intensities."""
    data = folder(root, **options)
    pixel = data.part(Split.TEST).batch(torch.tensor([0]), known=False).image[0]
    return ((pixel + 1) * 127.5).round().to(torch.uint8)


# ---- what is read


def test_classes_parts_and_images(tmp_path: Path) -> None:
    data = folder(fill(tmp_path, MANY))
    assert data.facts.class_names == ("cat", "dog", "owl")
    assert (data.facts.channels, data.facts.image_size, data.facts.source) == (3, SIZE, tmp_path.name)
    listed = [name for split in Split for name in names(data, split)]
    assert sorted(listed) == sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    for split in Split:
        batch = data.part(split).batch(torch.arange(len(names(data, split))), known=False)
        assert batch.image.shape[1:] == (3, *SIZE)
        for name, label, image in zip(names(data, split), batch.label, batch.image, strict=True):
            assert name.startswith(data.facts.class_names[label])
            expected = CenterCrop().apply(Image.open(tmp_path / name), SIZE, None)
            assert np.array_equal(((image + 1) * 127.5).round().numpy(), np.asarray(expected).transpose(2, 0, 1))


def test_images_without_folders_have_no_classes(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / f"{number}.png", number)
    data = folder(tmp_path)
    assert data.facts.class_names == ()
    assert [batch.label.tolist() for batch in data.test_dataloader()] == [[0]]


def test_part_folders_are_the_parts(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        fill(tmp_path / part, {"cat": count, "dog": count})
    data = folder(tmp_path)
    assert data.facts.class_names == ("cat", "dog")
    sizes = [len(names(data, split)) for split in Split]
    assert sizes == [10, 4, 6]
    shutil.rmtree(tmp_path / "val")
    data = folder(tmp_path, validation_fraction=0.2)
    assert [len(names(data, split)) for split in Split] == [8, 2, 6]
    assert all(name.startswith("train/") for name in names(data, Split.VALIDATION))


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert folder(fill(tmp_path, {"train": 4, "tram": 4})).facts.class_names == ("train", "tram")


def test_nested_linked_hidden_and_other_files(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", {"cat": 3})
    save(root / "cat" / "deep" / "er" / "A b\u00e9 \u732b.PNG")
    save(root / "cat" / ".hidden.png")
    save(root / ".cache" / "x.png")
    (root / "notes.txt").write_text("not an image")
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / "dog").symlink_to(fill(tmp_path / "elsewhere", {"dog": 2}) / "dog")
    (root / "cat" / "loop").symlink_to(root / "cat")
    data = folder(root)
    listed = sorted(name for split in Split for name in names(data, split))
    assert [name for name in listed if name.startswith("dog")] == ["dog/000.png", "dog/001.png"]
    assert unicodedata.normalize("NFC", listed[3]) == "cat/deep/er/A b\u00e9 \u732b.PNG"
    assert len(listed) == 6
    assert sum(len(batch.image) for batch in data.test_dataloader()) >= 1


def test_facts_and_content_decode_nothing_and_do_not_depend_on_the_place(tmp_path: Path) -> None:
    root = fill(tmp_path / "one", {"cat": 4})
    (root / "cat" / "000.png").write_bytes(b"no image at all")
    first = folder(root)
    assert first.facts.num_classes == 1
    shutil.copytree(root, tmp_path / "other")
    content = first.content()
    assert content is not None
    assert re.fullmatch(r"[0-9a-f]{8,}", content)
    assert folder(tmp_path / "other").content() == content
    (tmp_path / "other" / "cat" / "001.png").rename(tmp_path / "other" / "cat" / "renamed.png")
    assert folder(tmp_path / "other").content() != content
    (root / "cat" / "000.png").write_bytes(b"no image at all, longer")
    assert first.content() == content
    assert folder(root).content() != content


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp", "bmp", "gif", "tif", "TIFF"])
def test_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    for number in range(3):
        Image.new("RGB", (20, 30), (200, 40, 90)).save(tmp_path / f"{number}.{suffix}")
    assert one(tmp_path).permute(1, 2, 0).reshape(-1, 3).float().mean(0) == pytest.approx((200, 40, 90), abs=3)


def saved_thrice(root: Path, image: Image.Image, suffix: str = "png", **options: object) -> Path:
    for number in range(3):
        image.save(root / f"{number}.{suffix}", **options)
    return root


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_gray_or_rgb(tmp_path: Path, mode: str, channels: int) -> None:
    image = Image.new("RGB", (16, 24), (255, 255, 255)).convert(mode)
    saved_thrice(tmp_path, image, "tif" if mode == "CMYK" else "png")
    pixel = one(tmp_path, channels=channels)
    assert pixel.shape == (channels, *SIZE)
    assert (pixel == 255).all()


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    gray = np.tile(np.linspace(0, 65535, 16).astype(np.uint16), (24, 1))
    pixel = one(saved_thrice(tmp_path, Image.fromarray(gray)), channels=1)
    assert pixel[0, 0].tolist() == [17 * n for n in range(16)]


def test_transparency_is_laid_on_the_background(tmp_path: Path) -> None:
    image = np.zeros((24, 16, 4), np.uint8)
    image[:12] = (10, 20, 30, 255)
    pixel = one(saved_thrice(tmp_path, Image.fromarray(image)), background="#0000ff")
    assert (pixel[:, :12].permute(1, 2, 0) == torch.tensor([10, 20, 30])).all()
    assert (pixel[:, 12:].permute(1, 2, 0) == torch.tensor([0, 0, 255])).all()
    palette = Image.new("P", (16, 24), 0)
    palette.putpalette([9, 9, 9])
    assert (one(saved_thrice(tmp_path, palette, transparency=0), background="red")[0] == 255).all()


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    upright = picture(0, SIZE)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    saved_thrice(tmp_path, upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert np.array_equal(one(tmp_path).numpy(), np.asarray(upright).transpose(2, 0, 1))


# ---- memory, workers, epochs


@pytest.mark.parametrize("transforms", [None, [RandomCrop(), RandomFlip()], [Resize(), RandomFlip()]])
def test_memory_and_disk_processes_and_resumption_agree(tmp_path: Path, transforms: list[Transform] | None) -> None:
    fill(tmp_path, MANY)

    def epoch(number: int, **options: object) -> list[torch.Tensor]:
        data = folder(tmp_path, transforms=transforms, **options)
        data.epoch = number
        return [batch.image for batch in data.train_dataloader()]

    first, second = epoch(0), epoch(1)
    assert len(first) == 5
    for options in ({"in_memory": False}, {"in_memory": False, "num_workers": 2}, {"num_workers": 2}):
        assert all(torch.equal(a, b) for a, b in zip(second, epoch(1, **options), strict=True))
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert not torch.equal(torch.cat(first), torch.cat(epoch(0, seed=1)))


def test_random_images_are_a_function_of_seed_epoch_and_row(tmp_path: Path) -> None:
    data = folder(fill(tmp_path, MANY), transforms=[RandomCrop(), RandomFlip()])
    part = data.part(Split.TRAIN)
    rows = torch.arange(8)
    whole = part.batch(rows, known=True, epoch=3)
    for row in range(8):
        assert torch.equal(part.batch(rows[row : row + 1], known=True, epoch=3).image[0], whole.image[row])
    assert not torch.equal(part.batch(rows, known=True, epoch=4).image, whole.image)
    assert (whole.row == -1).all()
    assert data.still() is None
    still = folder(tmp_path).still()
    assert still is not None
    assert torch.cat([batch.row for batch in still]).tolist() == list(range(len(data.part(Split.TRAIN))))


def test_evaluation_does_not_vary(tmp_path: Path) -> None:
    random = folder(fill(tmp_path, MANY), transforms=[RandomCrop(), RandomFlip()])
    plain = folder(tmp_path)
    for one_batch, other in zip(random.val_dataloader(), plain.val_dataloader(), strict=True):
        assert torch.equal(one_batch.image, other.image)


def test_rebuilt_from_its_spec(tmp_path: Path) -> None:
    data = folder(fill(tmp_path, MANY), transforms=[Resize(), RandomFlip(probability=0.25)], seed=3)
    rebuilt = from_spec(data.spec(), ImageData)
    assert rebuilt.spec() == data.spec()
    assert rebuilt.facts == data.facts
    assert ImageFolder(root=str(tmp_path), image_size=8).facts.image_size == (8, 8)


# ---- mistakes


def told(root: Path, **options: object) -> str:
    """The message, with the folder as ROOT."""
    with pytest.raises(ValueError) as error:  # noqa: PT011
        _ = folder(root, **options).facts
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(root), "ROOT")


def test_a_missing_root(tmp_path: Path) -> None:
    assert told(tmp_path / "imges") == f"data.root: no such folder: ROOT (there is {tmp_path})"


def test_a_file_as_root(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    assert told(path) == "data.root: ROOT is a file; give the folder that holds the images"


def test_no_images(tmp_path: Path) -> None:
    suffixes = ".png .jpg .jpeg .webp .bmp .gif .tif .tiff"
    assert told(tmp_path) == f"data.root: ROOT holds no images ({suffixes}); it holds nothing"
    for name in ("a.txt", "b.txt", "c.npz", "README"):
        (tmp_path / name).write_text("")
    found = "2 .txt, 1 without suffix, 1 .npz"
    assert told(tmp_path) == f"data.root: ROOT holds no images ({suffixes}); it holds {found}"


def test_an_empty_class(tmp_path: Path) -> None:
    fill(tmp_path, MANY)
    (tmp_path / "bee").mkdir()
    assert told(tmp_path) == "data.root: the class folder ROOT/bee holds no images; fill it or delete it"


def test_images_beside_classes(tmp_path: Path) -> None:
    fill(tmp_path, MANY)
    save(tmp_path / "stray.png")
    assert told(tmp_path) == (
        "data.root: ROOT holds both images (stray.png) and folders (cat); "
        "put every image into the folder of its class, or all into one folder"
    )


def test_parts_that_cannot_be_understood(tmp_path: Path) -> None:
    fill(tmp_path / "val", {"cat": 3, "dog": 3})
    fill(tmp_path / "test", {"cat": 3, "dog": 3})
    assert told(tmp_path) == "data.root: ROOT holds test, val but no train"
    fill(tmp_path / "train", {"cat": 3, "owl": 3})
    assert told(tmp_path) == ("data.root: the classes in ROOT/test and ROOT/train differ: dog, owl in one of them only")
    save(tmp_path / "x.png")
    assert told(tmp_path) == "data.root: ROOT holds x.png beside test, train, val; move it into one of them"
    fill(tmp_path / "valid", {"cat": 1})
    assert told(tmp_path) == "data.root: ROOT holds val and valid; keep one of them for validation"
    fill(tmp_path / "raw", {"cat": 1})
    assert told(tmp_path) == "data.root: ROOT holds test, train, val, valid and beside them raw; move that away"


@pytest.mark.parametrize(
    ("twice", "role"), [("Train and train", "training"), ("Val and val", "validation"), ("Test and test", "testing")]
)
def test_a_part_that_is_there_twice(tmp_path: Path, twice: str, role: str) -> None:
    (tmp_path / "case").mkdir()
    if (tmp_path / "CASE").exists():
        pytest.skip("this file system does not tell letter cases apart")
    for name in {"train", "test", *twice.split(" and ")}:
        fill(tmp_path / "set" / name, {"cat": 3})
    assert told(tmp_path / "set") == f"data.root: ROOT holds {twice}; keep one of them for {role}"


def test_too_few_images(tmp_path: Path) -> None:
    assert told(fill(tmp_path, {"cat": 2})) == (
        "data.root: ROOT: 2 images are too few for training and validation and testing: "
        "a class with at least 3 images is needed"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": (24, 0)}, "data.image_size: must be a positive number, or two (height, width), got (24, 0)"),
        (
            {"image_size": (1, 2, 3)},
            "data.image_size: must be a positive number, or two (height, width), got (1, 2, 3)",
        ),
        ({"image_size": -1}, "data.image_size: must be a positive number, or two (height, width), got -1"),
        ({"channels": 4}, "data.channels: must be 1 (gray) or 3 (RGB), got 4"),
        ({"validation_fraction": 0.0}, "data.validation_fraction: must be positive and below 1, got 0.0"),
        ({"test_fraction": 1.0}, "data.test_fraction: must be positive and below 1, got 1.0"),
        ({"background": "bleu"}, "data.background: 'bleu' is no colour; give a name (white) or a number (#ffffff)"),
        ({"batch_size": 0}, "data.batch_size: must be at least 1, got 0"),
        ({"num_workers": -1}, "data.num_workers: must be from 0 to 256, got -1"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, object], message: str) -> None:
    assert told(tmp_path, **options) == message


def damaged(root: Path, how: str) -> Path:
    """Every picture but the first is as it should be."""
    fill(root, {"cat": 8})
    path = root / "cat" / "000.png"
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("<html>not found</html>")
    elif how == "cut":
        picture(0, (60, 60)).save(path)
        path.write_bytes(path.read_bytes()[:4000])
    elif how == "float":
        path.unlink()
        Image.fromarray(np.ones((8, 8), np.float32)).save(root / "cat" / "000.tif")
    elif how == "link":
        path.unlink()
        path.symlink_to(root / "gone.png")
    return root


def split_of(data: ImageFolder, name: str) -> Split:
    return next(split for split in Split if name in {Path(each).stem for each in names(data, split)})


def unreadable(data: ImageFolder, root: Path) -> str:
    split = split_of(data, "000")
    with pytest.raises(ValueError) as error:  # noqa: PT011
        data.part(split).batch(torch.arange(len(names(data, split))), known=False)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(root), "ROOT")


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "ROOT/cat/000.png: is empty (0 bytes); delete it or copy it again"),
        ("text", "ROOT/cat/000.png: is no image that can be read; delete it or copy it again"),
        ("cut", "ROOT/cat/000.png: is cut off or damaged (image file is truncated); delete it or copy it again"),
        ("float", "ROOT/cat/000.tif: has floating-point intensities, whose range is unknown; save it as 8-bit"),
        ("link", "ROOT/cat/000.png: is not there, or a link to nothing; delete it or copy it again"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, how: str, message: str, in_memory: bool) -> None:
    data = folder(damaged(tmp_path, how), in_memory=in_memory)
    assert data.content() is not None
    found = unreadable(data, tmp_path)
    assert re.sub(r"truncated \([^)]*\)", "truncated", found) == message


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"cat": 8})
    save(tmp_path / "cat" / "000.png", 0, (60, 60))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    message = "ROOT/cat/000.png: has more than 2000 pixels; scale it down first"
    assert unreadable(folder(tmp_path, in_memory=True), tmp_path) == message


def test_several_files_that_cannot_be_read(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 9})
    fill(tmp_path / "val", {"cat": 1})
    fill(tmp_path / "test", {"cat": 1})
    for number in (3, 5, 7):
        (tmp_path / "train" / "cat" / f"00{number}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"00[357]") as error:
        folder(tmp_path).train_dataloader()
    assert str(error.value).replace(str(tmp_path), "ROOT") == (
        "ROOT/train/cat/003.png: is empty (0 bytes); delete it or copy it again "
        "(3 of 9 images cannot be used; this is the first)"
    )


def test_the_message_is_the_last_line_of_what_comes_out_of_a_loader_process(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        fill(tmp_path / part, {"cat": 4})
    (tmp_path / "train" / "cat" / "000.png").write_bytes(b"")
    data = folder(tmp_path, in_memory=False, num_workers=1)
    with pytest.raises(ValueError, match="empty") as error:
        list(data.train_dataloader())
    first, *_, last = str(error.value).splitlines()
    assert first.startswith("Caught PictureError in DataLoader worker process")
    message = f"{tmp_path}/train/cat/000.png: is empty (0 bytes); delete it or copy it again"
    assert last == f"arlab.data.pictures.PictureError: {message}"
    del error
    gc.collect()
    assert not multiprocessing.active_children()
