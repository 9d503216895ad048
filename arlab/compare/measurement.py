"""How generators are measured, and the protocol that says so beside each figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from arlab.configurable import Configurable
from arlab.data.loaders import Split
from arlab.features.feature_network import FeatureNetwork
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance
from arlab.generators.sampler import Sampler
from arlab.metrics.frechet import FULL_FID
from arlab.metrics.protocol import Protocol
from arlab.ranges import require
from arlab.runs.folder import runs_root

MOST_IMAGES = 100_000
"""Each of them is compared with each other one, and with each real one."""
FEWEST_IMAGES = 8
"""Generated ones; their halves, of which intervals are taken, need neighbours."""
FEWEST_REAL = 6
_MOST_PIXELS = 1024


@dataclass(frozen=True)
class Measurement:
    """How generators are measured; figures compare where these are equal.

    Attributes:
        split: the part of the data that generated images are compared with.
        num_images: generated ones; None: as many as the part has, at most 10,000.
        network: what images are compared in; None: the shipped one for their channels.
        sampler: how images are drawn.
        seed: of all randomness.
        batch_size: images at a time.
        device: by name; None: the accelerator where there is one.
        features: the folder that features of real images are kept in; None: ``features`` among the runs.
        image_size: (H, W) that generated images are brought to and real ones are read at; None: the generator's own.

    Raises:
        ValueError: a number is out of range.
    """

    split: Split = Split.VALIDATION
    num_images: int | None = None
    network: FeatureNetwork | None = None
    sampler: Sampler = field(default_factory=Sampler)
    seed: int = 0
    batch_size: int = 64
    device: str | None = None
    features: Path | None = None
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.num_images is not None:
            require("num_images", self.num_images, at_least=FEWEST_IMAGES, at_most=MOST_IMAGES)
        require("seed", self.seed, at_least=0, below=2**63)
        require("batch_size", self.batch_size, at_least=1)
        for side in self.image_size or ():
            require("image_size", side, at_least=1, at_most=_MOST_PIXELS)

    @property
    def folder(self) -> Path:
        """Where features of real images are kept."""
        return runs_root() / "features" if self.features is None else self.features

    def count(self, num_real: int) -> int:
        """How many images are generated where there are so many real ones."""
        return max(FEWEST_IMAGES, min(num_real, FULL_FID)) if self.num_images is None else self.num_images

    def drawn(self, generator: Generator, num_real: int, data: str) -> Protocol:
        """The protocol of generated images; the feature network and what it asks for are written into it later.

        Args:
            generator: on the device it runs on.
            num_real: how many real images they are compared with.
            data: name and digest of these.
        """
        sampler, guidance = self.sampler, self.sampler.guidance
        constant = isinstance(guidance, ConstantGuidance) and guidance.until_token is None
        return Protocol(
            split=self.split.value,
            num_images=self.count(num_real),
            guidance_scale=guidance.guidance_scale if isinstance(guidance, ConstantGuidance) and constant else None,
            guidance=None if constant else in_words(guidance),
            temperature=in_words(sampler.temperature)
            if isinstance(sampler.temperature, Configurable)
            else sampler.temperature,
            top_k=in_words(sampler.top_k) if isinstance(sampler.top_k, Configurable) else sampler.top_k,
            top_p=sampler.top_p,
            seed=self.seed,
            ema=generator.ema_decay > 0,
            dtype=str(generator.dtype).removeprefix("torch."),
            device=str(generator.device),
            num_real=num_real,
            data=data,
        )


def in_words(part: Configurable) -> str:
    """'LinearGuidance(start=1.0, end=2.5)'."""
    options = part.spec()["init_args"]
    assert isinstance(options, dict)
    return f"{type(part).__name__}({', '.join(f'{key}={value}' for key, value in options.items())})"
