"""A trained model as one uses it: sample, encode, decode, look.

Letters: B images, C channels, H and W image sides, N tokens of an image.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance
from arlab.generators.sampler import Partial, Sampler
from arlab.generators.schedules import Schedule
from arlab.images import Picture, image_grid, save_png
from arlab.module import Module
from arlab.pyramids.grids import scales
from arlab.ranges import require
from arlab.rng import mix_seed
from arlab.runs.hub import download
from arlab.runs.resolve import load_model
from arlab.tokenizers.tokenizer import Tokenizer

_SHOWN_SIDE = 64
_MOST_IMAGES = 1_000_000
_MOST_TOKENS = 2**16  # each attends to all others


@dataclass(frozen=True)
class Pictures:
    """Generated images; the last line of a notebook cell shows them.

    Attributes:
        images: (B, C, H, W) float32 in [-1, 1], on the CPU.
        tokens: (B, N) indices or (B, N, C) vectors.
        labels: (B,) class indices.
        class_names: one name per class.
    """

    images: Tensor
    tokens: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The class of each image by name."""
        return [self.class_names[label] for label in self.labels.tolist()] if self.class_names else []

    def grid(self, columns: int | None = None, scale: int | None = None) -> Picture:
        """All images on one, (height, width, 3) uint8.

        Args:
            columns: images in a row; by default about as many as rows, and such that a column is of one class.
            scale: how many times to enlarge; by default small images to about 64 pixels.
        """
        return grid(self.images, self.labels, columns, scale)

    def save(self, path: str | Path, columns: int | None = None, scale: int | None = None) -> Path:
        """Write the grid as a PNG; parent folders are made."""
        return save_png(self.grid(columns, scale), path)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.grid()).save(buffer, "PNG")
        return buffer.getvalue()


def grid(images: Tensor, labels: Tensor, columns: int | None = None, scale: int | None = None) -> Picture:
    """Images (B, C, H, W) on one grid, laid out by their labels (B,); see ``Pictures.grid``."""
    if columns is None:
        square = math.ceil(math.sqrt(len(images)))
        kinds = len(set(labels.tolist()))
        columns = math.ceil(square / kinds) * kinds if kinds <= 2 * square else square
    if scale is None:
        scale = max(1, _SHOWN_SIDE // int(images.shape[-2]))
    return image_grid(images, columns=columns, scale=scale)


class Trained:
    """A trained generator or tokenizer.

    Args:
        model: the model, in evaluation mode.
    """

    def __init__(self, model: Module) -> None:
        if not isinstance(model, (Generator, Tokenizer)):
            raise ValueError(f"is a {type(model).__name__}, expected a Generator or a Tokenizer")
        self.model = model

    @property
    def facts(self) -> DataFacts:
        """What the model knows of its data."""
        return self.model.facts

    @property
    def tokenizer(self) -> Tokenizer:
        """The model itself, or the frozen tokenizer of a generator."""
        return self.model.tokenizer.module if isinstance(self.model, Generator) else self.model

    def sample(
        self,
        *,
        classes: Sequence[int | str] | None = None,
        num_images: int = 64,
        guidance_scale: float = 1.0,
        guidance: Guidance | None = None,
        seed: int = 0,
        temperature: float | Schedule = 1.0,
        top_k: int | Schedule = 0,
        top_p: float = 1.0,
        patch_nums: Sequence[int | Sequence[int]] | None = None,
        batch_size: int = 64,
        device: str | None = None,
        on_step: Callable[[Partial], None] | None = None,
    ) -> Pictures:
        """Generate images, the same that ``arlab sample`` writes.

        Image i is of class ``classes[i % len(classes)]`` and its randomness is of ``mix_seed(seed, i)``: neither the
        batch size nor the number of images changes it.

        Args:
            classes: indices or names, taken in turn; all by default.
            num_images: B, in all.
            guidance_scale: how strongly the class is exaggerated at every step; 1 = not.
            guidance: a schedule in place of ``guidance_scale``.
            seed: of all randomness.
            temperature: divides logits, scales noise; 0 takes the most likely token; a number or a schedule.
            top_k: draw among this many most likely tokens; 0 = all; a number or a schedule.
            top_p: of those, the fewest whose probabilities sum to at least this; 1 = all.
            patch_nums: other levels than the model was trained on, coarse to fine: cells along the longest side, or
                along each; for models that know how (FlexVAR).
            batch_size: images at a time.
            device: "cpu", "cuda", "cuda:1", ...; by default the accelerator where there is one.
            on_step: called after each step of each batch with what is known so far.

        Raises:
            ValueError: the model is a tokenizer, an argument is out of range, or there is no such class or device.
        """
        if not isinstance(self.model, Generator):
            raise ValueError(f"is a {type(self.model).__name__}, expected a Generator: a tokenizer cannot be sampled")
        require("num_images", num_images, at_least=1, at_most=_MOST_IMAGES)
        require("batch_size", batch_size, at_least=1, at_most=_MOST_IMAGES)
        if guidance is not None and guidance_scale != 1.0:
            raise ValueError("guidance_scale: given beside guidance; give one of the two")
        chosen = labels_of(classes, self.facts)
        label_B = torch.tensor([chosen[i % len(chosen)] for i in range(num_images)])
        sampler = Sampler(
            guidance=ConstantGuidance(guidance_scale=guidance_scale) if guidance is None else guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        layout = self.model.layout if patch_nums is None else scales(patch_nums, self.model.layout.finest, "patch_nums")
        require("patch_nums: tokens in all", layout.num_tokens, at_most=_MOST_TOKENS)
        self.model.tokenizer.at(layout)
        self.model.to(find_device(device))
        seeds = [mix_seed(seed, i) for i in range(num_images)]
        images, tokens = [], []
        for first in range(0, num_images, batch_size):
            part = slice(first, first + batch_size)
            drawn = sampler.sample(self.model, label_B[part], seeds=seeds[part], layout=layout, on_step=on_step)
            images.append(drawn.images.cpu())
            tokens.append(drawn.tokens.cpu())
        return Pictures(torch.cat(images), torch.cat(tokens), label_B, self.facts.class_names)

    @torch.no_grad()
    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images in [-1, 1] to tokens, (B, N) or (B, N, C).

        Raises:
            ValueError: they are not such images: another shape, integers, or not numbers.
        """
        expected = (self.facts.channels, *self.facts.image_size)
        if image_BCHW.dim() != 4 or tuple(image_BCHW.shape[1:]) != expected:
            raise ValueError(f"image: expected (B, {', '.join(map(str, expected))}), got {tuple(image_BCHW.shape)}")
        if not image_BCHW.is_floating_point() or not bool(image_BCHW.isfinite().all()):
            raise ValueError(f"image: expected finite numbers in [-1, 1], got {image_BCHW.dtype}")
        return self.tokenizer.encode(image_BCHW.to(self.tokenizer.device))

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens to images (B, C, H, W) in [-1, 1].

        Raises:
            ValueError: they are not this tokenizer's: another number of them, or codes that it does not have.
        """
        count, space = self.tokenizer.layout.num_tokens, self.tokenizer.space
        expected = (count,) if space.discrete else (count, space.width)
        if tuple(tokens.shape[1:]) != expected:
            raise ValueError(f"tokens: expected (B, {', '.join(map(str, expected))}), got {tuple(tokens.shape)}")
        if (
            space.codebook_size is not None
            and tokens.numel()
            and not 0 <= int(tokens.min()) <= int(tokens.max()) < space.codebook_size
        ):
            raise ValueError(f"tokens: expected codes in 0 .. {space.codebook_size - 1}, got others")
        return self.tokenizer.decode(tokens.to(self.tokenizer.device)).clamp(-1, 1)

    def reconstruct(self, image_BCHW: Tensor) -> Tensor:
        """What is left of images after their way through the tokens."""
        return self.decode(self.encode(image_BCHW))

    def __repr__(self) -> str:
        data = f"{self.facts.source}, {self.facts.num_classes} classes"
        return f"Trained({type(self.model).__name__} on {data}, image {self.facts.image_size})"


def load(run: str | Path) -> Trained:
    """A trained model, ready to use: ``arlab.load("runs/fashion/raster").sample(classes=[3, 5], num_images=8)``.

    Args:
        run: a run folder, an experiment folder (its newest run), a checkpoint or an export.

    Raises:
        ValueError: there is no such run, or it cannot be read.
    """
    return Trained(load_model(run, Module))


def from_pretrained(
    name_or_folder: str | Path, *, revision: str | None = None, cache_dir: str | Path | None = None
) -> Trained:
    """An exported model, from a folder or from the Hugging Face Hub: ``arlab.from_pretrained("OWNER/NAME")``.

    Args:
        name_or_folder: a folder that is there (whatever ``load`` takes), else OWNER/NAME on the hub.
        revision: on the hub: a branch, tag or commit; the newest by default.
        cache_dir: where downloads are kept; huggingface_hub's own place by default.

    Raises:
        ValueError: it is neither, the hub cannot be reached, huggingface_hub is not installed, or it cannot be read.
    """
    if Path(name_or_folder).exists():
        if revision is not None:
            raise ValueError(f"revision: {name_or_folder} is a folder here, which has none, got {revision!r}")
        return load(name_or_folder)
    return load(download(str(name_or_folder), revision=revision, cache_dir=cache_dir))


def labels_of(classes: Sequence[int | str] | None, facts: DataFacts) -> list[int]:
    """Class indices from indices or names; all classes for None.

    Raises:
        ValueError: there is no such class.
    """
    names = facts.class_names
    if classes is None:
        return list(range(len(names))) or [0]
    if not classes:
        raise ValueError("classes: at least one is needed")
    lower = [name.lower() for name in names]
    labels = []
    for given in classes:
        index = lower.index(given.lower()) if isinstance(given, str) and given.lower() in lower else given
        # A name that is a number (digits) comes before an index: '3' is the class called 3.
        if isinstance(index, str) and index.isdecimal():
            index = int(index)
        if not isinstance(index, int) or not 0 <= index < len(names):
            known = ", ".join(f"{i} {name}" for i, name in enumerate(names)) or "none, the data has no classes"
            raise ValueError(f"classes: no class {given!r}; there are: {known}")
        labels.append(index)
    return labels


def find_device(name: str | None) -> torch.device:
    """The device of this name, or the best there is.

    Raises:
        ValueError: this machine or this torch has no such device.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name is None:
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        # Of these nothing can be computed, or there is only one.
        usable = device.type != "meta" and (device.type != "cpu" or device.index is None)
    except (RuntimeError, AssertionError):
        usable = False
    if not usable:
        there = "cpu" if accelerator is None else f"cpu, {accelerator.type}"
        raise ValueError(f"device: {name!r} is not available here; there are: {there}")
    return device
