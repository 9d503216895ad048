"""MAR (arXiv 2406.11838): Masked, EncoderDecoder and DiffusionHead, in the recorded order and with the recorded noise.

The diffusion head by itself is mar_head.py's.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.generators.conditioners import ClassLabel
from arlab.generators.feeding import gather
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance, ShareGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.diffusion_targets import PredictsNoise
from arlab.heads.head import Predict
from arlab.heads.token_mlp import TokenMLP
from arlab.orderings.mask_ratios import UniformRatio
from arlab.orderings.masked import Masked
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Layout, Step
from arlab.rng import Noise, Rng
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace
from tests.conformance.test_laws import Steps
from tests.goldens import golden
from tests.parity.given_order import GivenOrder
from tests.parity.llama import IndexTokenizer, grad_norm
from tests.parity.mar_head import BLOCKS, INNER, STEPS, TOKEN_WIDTH, WIDTH
from tests.parity.mar_head import NAMES as HEAD_NAMES
from tests.parity.measured import Measured, Meter

METER = Meter("MAR")
IO = "marA_io"
COPIES, LAYERS, AR_STEPS = 8, 2, 6
NAMES = (
    {
        "z_proj": "head.input",
        "z_proj_ln": "backbone.in_norm",
        "encoder_norm": "backbone.encoder_norm",
        "decoder_embed": "backbone.between",
        "decoder_norm": "backbone.norms.0",
    }
    | {
        f"{stage}_blocks.{layer}.{old}": f"backbone.{stage}_blocks.{layer}.{new}"
        for stage in ("encoder", "decoder")
        for layer in range(LAYERS)
        for old, new in {
            "attn.qkv": "attention.qkv",
            "attn.proj": "attention.out",
            "norm1": "attention_norm",
            "norm2": "feed_forward_norm",
            "mlp.fc1": "feed_forward.fc1",
            "mlp.fc2": "feed_forward.fc2",
        }.items()
    }
    | {f"diffloss.net.{old}": f"head.denoiser.networks.0.{new}" for old, new in HEAD_NAMES.items()}
)


class LatentTokenizer(Tokenizer):
    """Vectors of four numbers on an 8 x 8 grid; the goldens need no pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layout, self.space = Layout(((8, 8),)), TokenSpace(TOKEN_WIDTH)
        self.facts = IndexTokenizer().facts

    def encode(self, image_BCHW: Tensor) -> Tensor:
        return image_BCHW.flatten(2).transpose(1, 2).expand(-1, -1, TOKEN_WIDTH)

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens.mean(-1).reshape(-1, 1, 8, 8)

    def vectors(self, tokens: Tensor) -> Tensor:
        return tokens


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
        super().__init__(set_sizes=CosineSizes(num_steps=AR_STEPS), mask_ratio=UniformRatio())

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
    generator = Generator(
        tokenizer=LatentTokenizer(),
        ordering=Recorded(),
        backbone=EncoderDecoder(
            width=WIDTH,
            num_encoder_layers=LAYERS,
            num_decoder_layers=LAYERS,
            attention=Attention(num_heads=4, qkv_bias=True, out_bias=True),
        ),
        head=DiffusionHead(denoiser=TokenMLP(width=INNER, num_blocks=BLOCKS), target=PredictsNoise(), num_steps=STEPS),
        conditioner=ClassLabel(num_slots=COPIES),
    )
    given = golden("marA_state")
    ours = {f"{new}.{part}": given[f"{old}.{part}"] for old, new in NAMES.items() for part in ("weight", "bias")}
    ours["slot_embedding.learned_RD"] = given["mask_token"][0]
    ours["conditioner.embedding.weight"] = torch.cat((given["class_emb.weight"], given["fake_latent"]))
    for stage in ("encoder", "decoder"):
        ours[f"backbone.{stage}_places.0.table"] = given[f"{stage}_pos_embed_learned"][0].roll(-COPIES, 0)
    # Published places of what leaves are for tokens alone; of condition slots nothing is read.
    ours["backbone.out_places.0.table"] = torch.nn.functional.pad(
        given["diffusion_pos_embed_learned"][0], (0, 0, 0, COPIES)
    )
    own = {name: value for name, value in generator.state_dict().items() if name not in ours}
    generator.load_state_dict(own | ours)
    left = sorted(name for name in own if name in dict(generator.named_parameters()))
    assert not left, left
    return generator.eval()


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
    weights = {"mask_token": "slot_embedding.learned_RD"}
    weights |= {f"{old}.weight": f"{new}.weight" for old, new in NAMES.items()}
    for key in sorted(key[5:] for key in io if key.startswith("grad.")):
        if key == "fake_latent":
            gradient = generator.get_parameter("conditioner.embedding.weight").grad[-1:]
        else:
            gradient = generator.get_parameter(weights[key]).grad
        expected = io[f"grad.{key}"]
        yield METER.scaled(f"∂ loss / ∂ {key}", gradient.reshape(expected.shape), expected, 1e-3)
    yield METER.close("gradient norm", grad_norm(generator), io["grad_norm"], rtol=1e-4)


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
