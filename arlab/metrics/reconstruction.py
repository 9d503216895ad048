"""What a tokenizer keeps of images, what its tokens cost and how fast it is.

Letters: B batch, N images, T tokens of one, C channels, H and W image sides, D features, L levels, V codebook size.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from arlab.data.data import Part
from arlab.features.feature_network import FeatureNetwork
from arlab.images import to_uint8
from arlab.metrics.figure import Figure, meaning
from arlab.metrics.frechet import reconstruction_frechet
from arlab.metrics.kernel import paired_kernel_distance
from arlab.metrics.protocol import Protocol
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.quantizers.quantizer import COUNTED, count_codes, perplexity, usage, whole
from arlab.tokenizers.tokenizer import Tokenizer

_SSIM_WINDOW = 11


@dataclasses.dataclass(frozen=True)
class Reconstructed:
    """Figures of a tokenizer, and some of the images they were measured on.

    Attributes:
        figures: by name.
        image_BCHW: images, in [-1, 1], on the CPU.
        reconstruction_BCHW: what is left of them.
    """

    figures: dict[str, Figure]
    image_BCHW: Tensor
    reconstruction_BCHW: Tensor


@torch.no_grad()
def evaluate_reconstruction(
    tokenizer: Tokenizer,
    part: Part,
    row_N: Tensor,
    *,
    network: FeatureNetwork,
    protocol: Protocol,
    batch_size: int = 64,
    num_shown: int = 32,
    on_batch: Callable[[], None] | None = None,
) -> Reconstructed:
    """PSNR, SSIM, perceptual distance, rFID, KID, use of the codebook, bits and speed of a tokenizer.

    PSNR is of the mean squared error over all images, as in validation; SSIM (of images of 11 pixels a side and more)
    and perceptual distance are means over images; speed, there and back, is the median over batches. Sets of features
    are of images rounded to 8 bits; see ``reconstruction_frechet`` for the name of their Fréchet distance.

    Args:
        tokenizer: in evaluation mode.
        part: the images.
        row_N: which of them.
        network: sees the images.
        protocol: names the split and the seed; the rest is filled in.
        batch_size: B.
        num_shown: how many images are given back.
        on_batch: called after each batch.

    Raises:
        ValueError: the network does not take such images, or its weights are missing.
    """
    sums = _Sums(tokenizer, network)
    shown: list[tuple[Tensor, Tensor]] = []
    for row_B in row_N.split(batch_size):
        image_BCHW = part.batch(row_B, known=False).image.to(tokenizer.device)
        reconstruction_BCHW = sums.add(image_BCHW)
        if sum(len(image) for image, _ in shown) < num_shown:
            shown.append((image_BCHW.cpu(), reconstruction_BCHW.cpu()))
        if on_batch is not None:
            on_batch()
    protocol = dataclasses.replace(
        protocol,
        num_images=len(row_N),
        dtype=str(tokenizer.dtype).removeprefix("torch."),
        device=str(tokenizer.device),
    )
    image_NCHW, reconstruction_NCHW = (torch.cat(parts)[:num_shown] for parts in zip(*shown, strict=True))
    return Reconstructed(sums.figures(protocol), image_NCHW, reconstruction_NCHW)


class _Sums:
    """What is kept of the batches of an evaluation.

    Args:
        tokenizer: in evaluation mode.
        network: sees the images.
    """

    def __init__(self, tokenizer: Tokenizer, network: FeatureNetwork) -> None:
        self.tokenizer = tokenizer
        self.network = network
        self.psnr = PeakSignalNoiseRatio(data_range=1.0).to(tokenizer.device)
        self.ssim = StructuralSimilarityIndexMeasure(data_range=1.0, kernel_size=_SSIM_WINDOW).to(tokenizer.device)
        self.has_ssim = min(tokenizer.facts.image_size) >= _SSIM_WINDOW
        self.real: list[Tensor] = []
        self.reconstructed: list[Tensor] = []
        self.distances: list[Tensor] = []
        self.counts_LV: list[Tensor] = []
        self.seconds: list[float] = []

    def add(self, image_BCHW: Tensor) -> Tensor:
        """Measure a batch; gives its reconstruction."""
        tokenizer, network = self.tokenizer, self.network
        if not self.seconds:
            # The first use of a network loads and allocates; it tells nothing of its speed.
            tokenizer.decode(tokenizer.encode(image_BCHW))
        _wait(image_BCHW.device)
        start = time.perf_counter()
        tokens = tokenizer.encode(image_BCHW)
        reconstruction_BCHW = tokenizer.decode(tokens).clamp(-1, 1)
        _wait(image_BCHW.device)
        self.seconds.append((time.perf_counter() - start) / len(image_BCHW))
        unit = ((reconstruction_BCHW + 1) / 2, (image_BCHW + 1) / 2)
        self.psnr.update(*unit)
        if self.has_ssim:
            self.ssim.update(*unit)
        self.distances.append(network.distance(reconstruction_BCHW, image_BCHW).cpu())
        self.real.append(network.features(to_uint8(image_BCHW)))
        self.reconstructed.append(network.features(to_uint8(reconstruction_BCHW)))
        size = tokenizer.space.codebook_size
        if size is not None and size * len(tokenizer.layout.shapes) <= COUNTED:
            counts_LV = count_codes(tokens, tokenizer.layout, size).cpu()
            self.counts_LV = [sum(self.counts_LV, counts_LV)]
        return reconstruction_BCHW

    def figures(self, protocol: Protocol) -> dict[str, Figure]:
        """What they come to, each figure with its protocol."""
        real_ND, reconstructed_ND = torch.cat(self.real), torch.cat(self.reconstructed)
        of_pixels = {"psnr": float(self.psnr.compute())}
        if self.has_ssim:
            similarity = self.ssim.compute()
            assert isinstance(similarity, Tensor)
            of_pixels["ssim"] = float(similarity)
        seen = {"perceptual_distance": float(torch.cat(self.distances).double().mean())}
        frechet = reconstruction_frechet(real_ND, reconstructed_ND)
        if frechet is not None:
            seen[frechet.name] = frechet.value
        if len(real_ND) > 1:
            seen["kid"] = paired_kernel_distance(real_ND, reconstructed_ND)
        of_tokens = cost(self.tokenizer)
        for counts_LV in self.counts_LV:
            of_tokens |= code_figures(counts_LV, own_codebooks=own_codebooks(self.tokenizer))
        of_tokens["images_per_second"] = 1 / statistics.median(self.seconds)
        by_network = dataclasses.replace(
            protocol, feature_network=self.network.name, feature_hash=self.network.weights_hash
        )
        groups = ((of_pixels, protocol), (seen, by_network), (of_tokens, protocol))
        return {name: Figure(value, meaning(name).unit, how) for group, how in groups for name, value in group.items()}


def own_codebooks(tokenizer: Tokenizer) -> bool:
    """Whether each level of a tokenizer has a codebook of its own."""
    return isinstance(tokenizer, LearnedTokenizer) and tokenizer.quantizer.own_codebooks


def code_figures(counts_LV: Tensor, *, own_codebooks: bool) -> dict[str, float]:
    """Usage and perplexity of all codes there are, of each level too where there are several."""
    figures: dict[str, float] = {}
    for name, figure in (("usage", usage), ("perplexity", perplexity)):
        figures[name] = float(figure(whole(counts_LV, own_codebooks)))
        if len(counts_LV) > 1:
            figures |= {f"{name}_level_{level}": float(each) for level, each in enumerate(figure(counts_LV))}
    return figures


def cost(tokenizer: Tokenizer) -> dict[str, float]:
    """Tokens of an image, and the bits they hold where they are discrete: T log2 V."""
    count = tokenizer.layout.num_tokens
    size = tokenizer.space.codebook_size
    return {"tokens_per_image": count} | ({} if size is None else {"bits_per_image": count * math.log2(size)})


def _wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
