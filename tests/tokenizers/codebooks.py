"""Every codebook there is, ready to be bound to four channels."""

from __future__ import annotations

from collections.abc import Callable

from arlab.tokenizers.quantizers.bsq import BSQ
from arlab.tokenizers.quantizers.entropy import EntropyLoss
from arlab.tokenizers.quantizers.fsq import FSQ
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.lfq import LFQ
from arlab.tokenizers.quantizers.passage import RotationTrick
from arlab.tokenizers.quantizers.quantizer import Codebook
from arlab.tokenizers.quantizers.similarity import Angle, Cosine
from arlab.tokenizers.quantizers.simvq import SimVQ
from arlab.tokenizers.quantizers.vq import VectorQuantizer

WIDTH = 4
EVERY: dict[str, Callable[[], Codebook]] = {
    "vq": lambda: VectorQuantizer(codebook_size=16, decay=0.5, revive_below=0.3),
    "vq-cosine-rotation-entropy": lambda: VectorQuantizer(
        codebook_size=16,
        decay=0.5,
        revive_below=0.3,
        similarity=Cosine(),
        passage=RotationTrick(),
        entropy=EntropyLoss(temperature=0.3),
    ),
    "gradient": lambda: GradientVectorQuantizer(codebook_size=16, decay=0.5, revive_below=0.3),
    "gradient-cosine-rotation-entropy": lambda: GradientVectorQuantizer(
        codebook_size=16,
        decay=0.5,
        revive_below=0.3,
        similarity=Cosine(),
        passage=RotationTrick(),
        entropy=EntropyLoss(temperature=0.3),
    ),
    "gradient-angle": lambda: GradientVectorQuantizer(
        codebook_size=16, decay=0.5, revive_below=0.3, similarity=Angle()
    ),
    "simvq": lambda: SimVQ(codebook_size=16),
    "simvq-rotation-entropy": lambda: SimVQ(
        codebook_size=16, passage=RotationTrick(), entropy=EntropyLoss(temperature=0.3)
    ),
    "fsq": lambda: FSQ(levels=[8, 5, 3, 4]),
    "lfq": lambda: LFQ(inverse_temperature=1.0),
    "bsq": lambda: BSQ(commitment_weight=0.25),
}
"""By name: each class, and what its options change."""
