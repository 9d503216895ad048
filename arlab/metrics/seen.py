"""Sets of images as a feature network sees them, once for all figures, and kept for the next time.

Letters: B batch, N images, D features, K classes of the network.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from arlab.data.data import Part
from arlab.features.feature_network import FeatureNetwork
from arlab.images import to_uint8
from arlab.ranges import require
from arlab.runs.files import written_whole

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Seen:
    """A set of images in the features of a network, on the CPU.

    Attributes:
        feature_ND: (N, D) float32.
        logits_NK: (N, K) float32 class scores; None where the network has none.
        label_N: (N,) int64 classes, of generated images those asked for; all 0 without classes.

    Raises:
        ValueError: they are not of equally many images.
    """

    feature_ND: Tensor
    logits_NK: Tensor | None
    label_N: Tensor

    def __post_init__(self) -> None:
        counts = {len(each) for each in (self.feature_ND, self.logits_NK, self.label_N) if each is not None}
        if len(counts) > 1:
            raise ValueError(f"images seen: features, scores and labels are of {sorted(counts)} images")

    def __len__(self) -> int:
        return len(self.feature_ND)


@torch.no_grad()
def see(
    network: FeatureNetwork,
    part: Part,
    row_N: Tensor | None = None,
    *,
    batch_size: int = 250,
    device: torch.device = _CPU,
    on_batch: Callable[[], None] | None = None,
) -> Seen:
    """Run a network over images, rounded to 8 bits.

    Args:
        network: what sees them.
        part: the images; of generated ones, ``arlab.data.stream.Images``.
        row_N: which of them, in which order; None: all.
        batch_size: B.
        device: the network runs on.
        on_batch: called after each batch.

    Raises:
        ValueError: there is no image, or the network does not take such images, its weights are missing, or it gives
            features that are no numbers.
    """
    require("images seen: batch_size", batch_size, at_least=1)
    row_N = torch.arange(len(part)) if row_N is None else row_N
    require("images seen: number", len(row_N), at_least=1)
    features, labels = [], []
    for row_B in row_N.split(batch_size):
        batch = part.batch(row_B, known=False)
        features.append(network.features(to_uint8(batch.image).to(device), batch_size))
        labels.append(batch.label.cpu())
        if on_batch is not None:
            on_batch()
    feature_ND = torch.cat(features)
    lost = int((~feature_ND.isfinite().all(1)).sum())
    if lost:
        raise ValueError(f"{network.name}: gives NaN or infinity for {lost} of {len(feature_ND)} images")
    return Seen(feature_ND, network.classify(feature_ND), torch.cat(labels))


def see_cached(
    network: FeatureNetwork,
    part: Part,
    row_N: Tensor | None = None,
    *,
    content: str,
    folder: Path,
    batch_size: int = 250,
    device: torch.device = _CPU,
    on_batch: Callable[[], None] | None = None,
) -> Seen:
    """``see``, kept in a file for the next time; a damaged file is made anew.

    Where the folder cannot be written, nothing is kept.

    Args:
        network: what sees them.
        part: the images.
        row_N: which of them, in which order; None: all.
        content: a digest of the images of ``part``, or a name that no others have.
        folder: of the files; their names are digests of the network's weights, ``content``, the rows, and what the
            last digits depend on: the kind of device and PyTorch's version.
        batch_size: B.
        device: the network runs on.
        on_batch: called after each batch that is not in the file.

    Raises:
        ValueError: as ``see``.
    """
    path = folder / f"{_key(network, part, row_N, content, device)}.safetensors"
    count = len(part) if row_N is None else len(row_N)
    kept = _read(path)
    if kept is not None and len(kept) == count:
        return kept
    seen = see(network, part, row_N, batch_size=batch_size, device=device, on_batch=on_batch)
    with contextlib.suppress(OSError):
        _write(path, seen)
    return seen


def _key(network: FeatureNetwork, part: Part, row_N: Tensor | None, content: str, device: torch.device) -> str:
    rows = torch.arange(len(part)) if row_N is None else row_N
    ran = f"{device.type} {torch.__version__}"
    digest = hashlib.sha256(f"{network.name} {network.weights_hash} {content} {ran} ".encode())
    digest.update(rows.to("cpu", torch.int64).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write(path: Path, seen: Seen) -> None:
    tensors = {"feature": seen.feature_ND, "label": seen.label_N}
    if seen.logits_NK is not None:
        tensors["logits"] = seen.logits_NK
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as draft:
        save_file(tensors, draft, {"sha256": _digest(tensors)})


def _read(path: Path) -> Seen | None:
    """What a file holds; None where there is none, or it is not as it was written."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            facts = file.metadata() or {}
        if facts.get("sha256") != _digest(tensors):
            return None
        return Seen(tensors["feature"], tensors.get("logits"), tensors["label"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
