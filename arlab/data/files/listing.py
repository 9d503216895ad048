"""What lies in a folder of images: its parts, its classes, its files."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arlab.data.files.decode import SUFFIXES

_TRAINING = "training"
_VALIDATION = "validation"
_TESTING = "testing"
_ROLES = {_TRAINING: ("train",), _VALIDATION: ("val", "valid", "validation"), _TESTING: ("test",)}


@dataclass(frozen=True)
class Listing:
    """Image files and their classes.

    Attributes:
        names: paths relative to the root, sorted.
        labels: the class of each; 0 without classes.
        class_names: folder names, sorted; empty where images lie in the folder itself.
    """

    names: list[str]
    labels: list[int]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Listings:
    """The parts a folder gives; None where there is no folder for one."""

    train: Listing
    validation: Listing | None
    test: Listing | None


def list_folder(root: Path) -> Listings:
    """The parts, classes and images of a folder; hidden files and folders are left out, links are followed.

    Raises:
        ValueError: there is no such folder, no image, or what there is can be understood in two ways.
    """
    if not root.exists():
        near = next((parent for parent in root.absolute().parents if parent.exists()), root)
        raise ValueError(f"data.root: no such folder: {root} (there is {near})")
    if not root.is_dir():
        raise ValueError(f"data.root: {root} is a file; give the folder that holds the images")
    below = {name: root / name for name in _visible(root) if (root / name).is_dir()}
    found = {role: [name for name in below if name.lower() in known] for role, known in _ROLES.items()}
    roles = [name for name in below if any(name in names for names in found.values())]
    others = [name for name in below if name not in roles]
    train_folder = next(iter(found[_TRAINING]), None)
    # A class may be called train, or test: only where no other class is there do these names mean parts.
    if not roles or (others and (train_folder is None or len(roles) == 1)):
        return Listings(_list_classes(root, root), None, None)
    if train_folder is None:
        raise ValueError(f"data.root: {root} holds {', '.join(roles)} but no train")
    if others:
        raise ValueError(f"data.root: {root} holds {', '.join(roles)} and beside them {others[0]}; move that away")
    for role, names in found.items():
        if len(names) > 1:
            raise ValueError(f"data.root: {root} holds {' and '.join(names)}; keep one of them for {role}")
    beside = next((name for name in _visible(root) if _is_image(name)), None)
    if beside is not None:
        raise ValueError(f"data.root: {root} holds {beside} beside {', '.join(roles)}; move it into one of them")
    parts = {name: _list_classes(below[name], root) for name in roles}
    train = parts[train_folder]
    for name, part in parts.items():
        if part.class_names != train.class_names:
            odd = sorted(set(part.class_names) ^ set(train.class_names))
            raise ValueError(
                f"data.root: the classes in {below[name]} and {below[train_folder]} differ: "
                f"{', '.join(odd[:5])} in one of them only"
            )
    validation, test = (next((parts[name] for name in found[role]), None) for role in (_VALIDATION, _TESTING))
    return Listings(train, validation, test)


def _list_classes(folder: Path, root: Path) -> Listing:
    entries = _visible(folder)
    flat = [name for name in entries if _is_image(name) and not (folder / name).is_dir()]
    classes = [name for name in entries if (folder / name).is_dir()]
    if flat and classes:
        raise ValueError(
            f"data.root: {folder} holds both images ({flat[0]}) and folders ({classes[0]}); "
            "put every image into the folder of its class, or all into one folder"
        )
    if flat:
        names = [_relative(folder / name, root) for name in flat]
        return Listing(names, [0] * len(names), ())
    if not classes:
        kinds = Counter(Path(name).suffix.lower() or "without suffix" for name in entries)
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "nothing"
        raise ValueError(f"data.root: {folder} holds no images ({' '.join(SUFFIXES)}); it holds {found}")
    names, labels = [], []
    for label, name in enumerate(classes):
        inside = sorted(_relative(path, root) for path in _images_below(folder / name, ()))
        if not inside:
            raise ValueError(f"data.root: the class folder {folder / name} holds no images; fill it or delete it")
        names += inside
        labels += [label] * len(inside)
    return Listing(names, labels, tuple(unicodedata.normalize("NFC", name) for name in classes))


def _images_below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    here = folder.resolve()
    if here in above:
        return  # a link to a folder it lies in
    for name in _visible(folder):
        path = folder / name
        if path.is_dir():
            yield from _images_below(path, (*above, here))
        elif _is_image(name):
            yield path


def _visible(folder: Path) -> list[str]:
    names = [name for name in os.listdir(folder) if not name.startswith(".")]
    return sorted(names, key=lambda name: unicodedata.normalize("NFC", name))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
