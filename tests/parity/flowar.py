"""FlowAR (arXiv 2412.15205): next-scale prediction of continuous tokens, each scale drawn by a flow over all of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from unittest.mock import patch

import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.feed_forward import Activation, GatedMLP
from arlab.backbones.modulation import AdaLN
from arlab.backbones.norms import RMSNorm
from arlab.backbones.rotary import AxialRotary, IdentityRotation
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.generators.guidance import LinearGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.flow import FlowHead
from arlab.heads.head import Hidden, Predict, Predicted, Sampling
from arlab.heads.step_transformer import StepTransformer
from arlab.heads.two_pace_times import TwoPaceTimes
from arlab.orderings.next_scale import NextScale
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.step import Layout, Read, Step
from arlab.rng import BatchRng, Noise
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace
from tests.goldens import golden, golden_table
from tests.parity.measured import Measured, Meter

METER = Meter("FlowAR")
IO, MODEL, CONFIG = "flowarA_io", "flowarA_model_fp16", "flowarA_config"
SCALES, CFG = [1, 2, 4, 8, 16], 2.5
BLOCK = {
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "mlp.fc1_g": "feed_forward.gate",
    "mlp.fc1_x": "feed_forward.up",
    "mlp.fc2": "feed_forward.down",
}
NETWORK = {
    "time_embed.mlp.0": "time.mlp.0",
    "time_embed.mlp.2": "time.mlp.2",
    "cond_embed": "conditions.0",
    "input_proj": "input",
    "final_layer.adaLN_modulation.1": "modulation",
    "final_layer.linear": "output",
}
FLOW_BLOCK = {old: new.replace("feed_forward", "mlp") for old, new in BLOCK.items()} | {"ada_lin": "modulation"}


def names() -> dict[str, str]:
    """Published names to ours."""
    found = {f"flownet.{old}": f"head.denoiser.{new}" for old, new in NETWORK.items()}
    for layer in range(2):
        found |= {
            f"flownet.res_blocks.{layer}.{old}": f"head.denoiser.blocks.{layer}.{new}"
            for old, new in FLOW_BLOCK.items()
        }
    for layer, (stage, own) in enumerate((("encoder", 0), ("encoder", 1), ("decoder", 0))):
        theirs, ours = f"{stage}_blocks.{own}", f"backbone.{stage}_blocks.{own}"
        found |= {f"{theirs}.{old}": f"{ours}.{new}" for old, new in BLOCK.items()}
        found[f"{theirs}.ada_lin.1"] = f"backbone.conditioning.blocks.{layer}"
    found |= {"z_proj": "slot_embedding.computed", "decoder_embed": "backbone.between"}
    single = {
        "z_proj_ln.weight": "backbone.in_norm.weight",
        "encoder_norm.weight": "backbone.encoder_norm.weight",
        "decoder_norm.weight": "backbone.norms.0.weight",
        "class_emb.weight": "conditioner.embedding.weight",
        "encoder_pos_embed_learned": "backbone.encoder_places.0.table",
        "decoder_pos_embed_learned": "backbone.decoder_places.0.table",
        "diffusion_pos_embed_learned": "backbone.out_places.0.table",
    }
    return {f"{old}.{part}": f"{new}.{part}" for old, new in found.items() for part in ("weight", "bias")} | single


class Latents(Tokenizer):
    """The golden's latents, without the autoencoder around them, which is MAR's."""

    def __init__(self) -> None:
        super().__init__()
        self.layout, self.space = Layout(((16, 16),)), TokenSpace(16)
        self.facts = DataFacts("golden", 3, (256, 256), tuple(map(str, range(1000))))

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Of latents: the images are not part of these goldens."""
        return image_BCHW.flatten(2).mT

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens.mT.unflatten(-1, (16, 16))[:, :3]

    def vectors(self, tokens: Tensor) -> Tensor:
        return tokens


def published() -> Generator:
    generator = Generator(
        tokenizer=Latents(),
        ordering=NextScale(patch_nums=[*SCALES]),
        backbone=EncoderDecoder(
            width=64,
            num_encoder_layers=2,
            num_decoder_layers=1,
            attention=Attention(num_heads=2, qkv_bias=True, out_bias=True),
            feed_forward=GatedMLP(multiple_of=1, activation=Activation.GELU, bias=True),
            norm=RMSNorm(eps=1e-6, affine=False),
            stage_norm=RMSNorm(eps=1e-6),
            rotary=AxialRotary(nowhere=IdentityRotation()),
            modulation=AdaLN(final=False),
        ),
        head=FlowHead(
            denoiser=StepTransformer(width=128, num_heads=2, truncate_time=True), times=TwoPaceTimes(), guided_until=0.9
        ),
        ema_decay=0.0,
    )
    old = golden(MODEL)
    held = generator.state_dict()
    weights = {new: old[name] for name, new in names().items() if name in old}
    for name in [name for name in weights if name.endswith(".table")]:
        # Rows behind those of tokens are of condition slots that stand nowhere, which there are none of.
        weights[name] = torch.cat((weights[name][0], held[name][341:]))
    table = torch.zeros_like(held["conditioner.embedding.weight"])
    table[old["class_emb.row_index"]] = old["class_emb.rows"]
    generator.load_state_dict({**weights, "conditioner.embedding.weight": table})
    return generator.eval()


def recorded(measure: Callable[[], Iterator[Measured]]) -> Callable[[], Iterator[Measured]]:
    """By the frequencies of the recording, which were rounded to half precision as its weights were."""

    @functools.wraps(measure)
    def wrapped() -> Iterator[Measured]:
        old = golden(MODEL)
        both = old["encoder_blocks.0.attn.rope.freqs"], old["flownet.res_blocks.0.attn.rope.freqs"]
        known = {len(each): each for each in both}
        with patch("arlab.rotation.frequencies", lambda pairs, base, device: known[pairs].to(device)):
            return iter(list(measure()))

    return wrapped


def _teacher(generator: Generator) -> tuple[Predict, Step, Tensor]:
    """The pass, its plan and the tokens of all scales."""
    io = golden(IO)
    tokens = generator.tokenizer.encode(io["latents"])
    condition = generator.conditioner(io["labels"])
    step = generator.ordering.teacher(generator.layout, condition.prefix, BatchRng(0, 2), tokens.device)
    return generator.teacher_predict(step, tokens, condition), step, tokens


def conditions() -> Iterator[Measured]:
    """What the backbone says of each scale."""
    io, generator = golden(IO), published()
    predict, step, _ = _teacher(generator)
    yield METER.exact("order", step.read.token, torch.arange(341))
    z_BND = predict().conditional.ways[0]
    for level in range(5):
        z_BnD = z_BND[:, generator.layout.tokens(level)]
        yield METER.close(f"z of scale {level}", z_BnD, io[f"z_{level}"], atol=5e-5)


def _losses(generator: Generator) -> Tensor:
    """Of each token, (B, N), at the recorded times and noise."""
    io = golden(IO)
    predict, step, tokens = _teacher(generator)
    assert isinstance(generator.head, FlowHead)
    time = torch.cat([io[f"t_{level}"].expand(-1, size, -1) for level, size in enumerate(generator.layout.sizes)], 1)
    noise = torch.cat([io[f"noise_{level}"] for level in range(5)], 1)
    return generator.head.loss_at(predict, step, tokens, time, noise[:, :, None])


def losses() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    loss_BN = _losses(generator)
    for level in range(5):
        loss_B = loss_BN[:, generator.layout.tokens(level)].mean(1)
        yield METER.close(f"loss of scale {level}", loss_B, io[f"loss_per_sample_{level}"], rtol=1e-5)
    # n_s / 256 of the mean of a scale is every token's loss over 256.
    yield METER.close("loss", loss_BN.sum(1).mean()[None] / 256, io["train_loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    (_losses(generator).sum(1).mean() / 256).backward()
    ours = {name: p.grad for name, p in generator.named_parameters() if p.grad is not None}
    norms = torch.stack([ours[names()[name]].double().norm() for name in golden_table(CONFIG)["grad_norm_names"]])
    yield METER.close("gradient norms", norms, io["grad_norms"], atol=1e-7, rtol=1e-3)


def times() -> Iterator[Measured]:
    io, grid = golden(IO), torch.tensor(TwoPaceTimes()(), dtype=torch.float64)
    yield METER.exact("times of the solver", grid.float(), io["t_steps"])
    yield METER.exact("times embedded", (1000 * grid.float()[:-1]).floor().long(), io["t_steps_int"])
    for level in range(5):
        drawn = (1000 * io[f"t_{level}"].flatten()).floor().long()
        yield METER.exact(f"times trained on, scale {level}", drawn, io[f"t_int_{level}"])


def velocity() -> Iterator[Measured]:
    """The flow network alone, on one scale."""
    io, generator = golden(IO), published()
    level = int(io["head_scale_index"])
    steps = list(generator.ordering.steps(generator.layout, Prefix(1), BatchRng(0, 2)))
    own = torch.arange(len(steps[level].read))
    hidden = Hidden((io[f"z_{level}"],), Read.own(steps[level].read.token, own), generator.layout)

    def predict(noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
        return Predicted(hidden)

    assert isinstance(generator.head, FlowHead)
    denoise = generator.head.network.look(predict, steps[level])
    noisy, time = io["head_xt"][:, :, None], io[f"t_{level}"].expand(-1, len(own), -1)
    yield METER.close("velocity", denoise(noisy, time).conditional[:, :, 0], io["head_v"], atol=5e-5)


class Published(Noise):
    """The recorded noise in place of noise of one's own, (B, N, C)."""

    def __init__(self, noise_BNC: Tensor) -> None:
        super().__init__(range(len(noise_BNC)), noise_BNC.shape[1])
        self.noise_BNC = noise_BNC

    def normal(self, token: Tensor, width: int, draw: int = 0) -> Tensor:
        return self.noise_BNC[:, token]


def samples() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    guidance = LinearGuidance(start=1, end=CFG)
    # The first rows are of the images, the others of the halves without a class, which their sampler begins apart.
    noise = Published(torch.cat([io[f"sample_noise_{level}"][:2] for level in range(5)], 1))
    for use_cache in (True, False):
        suffix = "" if use_cache else ", no cache"
        seen: list[Predicted] = []

        def draw(predict: Predict, step: Step, seen: list[Predicted] = seen) -> Drawn:
            assert step.progress is not None
            seen.append(predict())
            return generator.head.draw(lambda: seen[-1], step, guidance.scale(step.progress), Sampling(), noise)  # type: ignore[arg-type]

        sampler = Sampler(guidance=guidance, use_cache=use_cache)
        *_, last = sampler.decode(generator, io["labels"], seeds=range(2), draw=draw)
        for level in range(5):
            halves = seen[level].conditional, seen[level].unconditional
            z = torch.cat([half.ways[0][:, half.read.slot[:, 0]] for half in halves if half is not None])
            drawn = last.tokens[:, generator.layout.tokens(level)]
            yield METER.close(f"z, sampling scale {level}{suffix}", z, io[f"sample_z_{level}"], atol=1e-4)
            yield METER.close(f"scale {level} sampled{suffix}", drawn, io[f"sample_out_{level}"][:2], atol=1e-4)
        (latent,) = generator.tokenizer.canvases(last.tokens, [5])
        yield METER.close(f"latent sampled{suffix}", latent, io["sample_latent"], atol=1e-4)


QUANTITIES = tuple(map(recorded, (conditions, losses, gradients, times, velocity, samples)))
