"""MAR (arXiv 2406.11838): Masked, EncoderDecoder and DiffusionHead, in the recorded order and with the recorded noise.

The diffusion head by itself is mar_head.py's.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.checkpoints.mar import MAR
from arlab.generators.feeding import gather
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance, ShareGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.head import Predict
from arlab.orderings.mask_ratios import UniformRatio
from arlab.orderings.masked import Masked
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Layout, Step
from arlab.rng import Noise, Rng
from tests.conformance.test_laws import Steps
from tests.goldens import golden
from tests.parity.given_order import GivenOrder
from tests.parity.grid_tokenizer import GridTokenizer
from tests.parity.llama import grad_norm, released
from tests.parity.measured import Measured, Meter

METER = Meter("MAR")
IO = "marA_io"
FAMILY = MAR(num_heads=4, num_steps=6, diffusion_steps=10)
COPIES = 8


class GivenMask(GivenOrder):
    """Draws this order (B, N), and this share as every uniform number."""

    def __init__(self, order_BN: Tensor, share: float) -> None:
        super().__init__(order_BN)
        self.share = share

    def uniform(self, *shape: int) -> Tensor:
        return torch.full((self.batch, *shape), self.share)


class Recorded(Masked):
    """Decodes in the recorded order; MAR's are read from their end."""

    def __init__(self) -> None:
        super().__init__(set_sizes=CosineSizes(num_steps=FAMILY.num_steps), mask_ratio=UniformRatio())

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        return super().steps(layout, prefix, GivenOrder(golden(IO)["orders"].flip(1)))

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        # Known tokens first, each kind by place.
        mask_BN = golden(IO)["mask"]
        rng = GivenMask(mask_BN.argsort(dim=1, stable=True), float(mask_BN[0].mean()))
        return super().training(layout, prefix, rng, trained)


class Published(Noise):
    """The recorded noise in place of noise of one's own."""

    def __init__(self) -> None:
        io = golden(IO)
        super().__init__(range(3), 64)
        self.draws = (io["ar_init_noise"], *io["ar_step_noise"])

    def normal(self, token: Tensor, width: int, draw: int = 0) -> Tensor:
        return gather(self.draws[draw], token)


def published() -> Generator:
    generator = released(FAMILY, golden("marA_state"), GridTokenizer((8, 8), 4, num_classes=10))
    generator.ordering = Recorded()
    return generator


def teacher_forced() -> tuple[Generator, Step, Predict]:
    """The pass with the recorded mask and labels."""
    io, generator = golden(IO), published()
    label = torch.where(io["label_drop"] > 0, generator.conditioner.null(io["labels"]), io["labels"])
    condition = generator.conditioner(label)
    step = generator.ordering.training(generator.layout, condition.prefix, GivenOrder(io["orders"]))
    return generator, step, generator.teacher_predict(step, io["patchified"], condition)


def trunk() -> Iterator[Measured]:
    """What leaves the encoder (known tokens by place) and the decoder (all tokens by place)."""
    io, (generator, step, predict) = golden(IO), teacher_forced()
    encoded: list[Tensor] = []
    generator.backbone.encoder_norm.register_forward_hook(lambda module, arguments, out: encoded.append(out))
    (z_BSD,) = predict().conditional.ways
    yield METER.close("encoder", encoded[0], io["encoder_out"], atol=2e-4, rtol=1e-4)
    # Behind the condition each row stands on its place.
    place_BN = step.feed.at[:, COPIES:].argsort(1)
    yield METER.close("decoder", gather(z_BSD[:, COPIES:], place_BN), io["decoder_z"], atol=2e-4, rtol=1e-4)


def gradients() -> Iterator[Measured]:
    """Of the mean loss over masked tokens, without the first noise level (see mar_head.py)."""
    io, (generator, step, predict) = golden(IO), teacher_forced()
    token_BM = step.read.token

    def copies(recorded: Tensor) -> Tensor:
        """Recorded copy by copy, (K B N, ...) to (B, M, K, ...)."""
        return gather(recorded.unflatten(0, (2, 3, -1)).movedim(0, 2), token_BM)

    index = copies(io["t"])
    head = generator.head
    assert isinstance(head, DiffusionHead)
    loss_BMK = head.terms_at(predict, step, gather(io["patchified"], token_BM), index, copies(io["noise"]))
    loss = (loss_BMK * (index > 0)).sum() / (index > 0).sum()
    yield METER.close("loss", loss, io["loss_for_grad"], rtol=1e-5)
    loss.backward()
    theirs = gradients_of(generator)
    for key in sorted(key[5:] for key in io if key.startswith("grad.")):
        yield METER.scaled(f"∂ loss / ∂ {key}", theirs[key], io[f"grad.{key}"], 1e-3)
    yield METER.close("gradient norm", grad_norm(generator), io["grad_norm"], rtol=1e-4)


def gradients_of(generator: Generator) -> dict[str, Tensor]:
    """By their published names; zero where nothing went."""
    weights = generator.named_parameters()
    ours = {name: torch.zeros_like(weight) if weight.grad is None else weight.grad for name, weight in weights}
    return FAMILY.names(generator).published(ours)


def decoding() -> Iterator[Measured]:
    """All six steps with the recorded noise: how many tokens, how strongly guided, and the tokens."""
    io, generator = golden(IO), published()
    guidances: dict[str, tuple[Guidance, float]] = {
        "cfg": (ShareGuidance(start=1.0, end=2.5, after=True), 1.0),
        "cfgconst": (ConstantGuidance(guidance_scale=2.5), 1.0),
        "nocfg": (ConstantGuidance(), 0.95),
    }
    for key, (guidance, temperature) in guidances.items():
        for use_cache in (True, False) if key == "cfg" else (True,):
            counts, scales, tokens = decode(
                generator, Sampler(guidance=guidance, temperature=temperature, use_cache=use_cache)
            )
            suffix = "" if use_cache else ", no cache"
            yield METER.exact(f"tokens a step, {key}{suffix}", torch.tensor(counts), io[f"ar_counts_{key}"])
            yield METER.close(f"guidance, {key}{suffix}", torch.tensor(scales), io[f"ar_cfgs_{key}"], rtol=1e-6)
            expected = io[f"ar_tokens_{key}"].flatten(2).transpose(1, 2)
            yield METER.scaled(f"tokens, {key}{suffix}", tokens, expected, 1e-4)


def decode(generator: Generator, sampler: Sampler) -> tuple[list[int], list[float], Tensor]:
    """Tokens a step, scale of each step, and the tokens (B, N, C)."""
    counts, scales, noise = [], [], Published()

    def draw(predict: Predict, step: Step) -> Drawn:
        assert step.progress is not None
        counts.append(step.progress.drawn - step.progress.known)
        scales.append(sampler.guidance.scale(step.progress))
        return generator.head.draw(predict, step, scales[-1], sampler.sampling(step.progress), noise)

    *_, last = sampler.decode(generator, golden(IO)["labels"], seeds=range(3), draw=draw)
    return counts, scales, last.tokens


QUANTITIES = (trunk, gradients, decoding)
