"""xAR (arXiv 2502.20388): an image of 16 x 16 vectors in four cells, each a flow behind noised cells.

The recording is of the released code, which knows no other grid. Its tables of places are in the order of the cells.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.checkpoints.xar import XAR
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance, LinearGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.flow import FlowHead
from arlab.heads.head import Predict, Sampling
from arlab.heads.solvers import Euler
from arlab.heads.time_grids import EvenTimes
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.step import Kind, Step
from arlab.rng import BatchRng, Noise
from tests.goldens import golden
from tests.parity.grid_tokenizer import GridTokenizer
from tests.parity.llama import grad_norm, released
from tests.parity.measured import Measured, Meter

METER = Meter("xAR")
IO = "xarA_io"
FAMILY = XAR(num_steps=6)
SIDE, CELLS, TOKEN_WIDTH, SCALE = 16, 4, 16, 2.7


def published() -> Generator:
    return released(FAMILY, golden("xarA_state"), GridTokenizer((SIDE, SIDE), TOKEN_WIDTH, num_classes=1000))


def training_pass(generator: Generator) -> Step:
    return generator.ordering.teacher(generator.layout, Prefix(0), BatchRng(0, 2), torch.device("cpu"))


def velocity(generator: Generator) -> tuple[Tensor, Tensor]:
    """What the training pass says, (B, M, C), and its loss."""
    io, step, head = golden(IO), training_pass(generator), generator.head
    assert isinstance(head, FlowHead)
    tokens = generator.tokenizer.encode(io["latent"])
    predict = generator.teacher_predict(step, tokens, generator.conditioner(io["labels"]))
    time_BM1 = io["t_cell_major"].unflatten(0, (CELLS, -1)).T.repeat_interleave(64, 1)[..., None]
    noise_BM1C = io["noise_cells"].transpose(0, 1).flatten(1, 2)[:, :, None]
    noisy_BM1C = io["noisy_tokens"][:, :, None]
    said = head.network.look(predict, step)(noisy_BM1C, time_BM1).conditional[:, :, 0]
    return said, head.loss_at(predict, step, tokens[:, step.read.token], time_BM1, noise_BM1C).mean()


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    token = training_pass(generator).read.token
    yield METER.exact("cells", generator.tokenizer.encode(io["latent"])[:, token], io["cells"].flatten(1, 2))
    encoded: list[Tensor] = []
    generator.backbone.encoder_norm.register_forward_hook(lambda module, args, out: encoded.append(out))
    said, loss = velocity(generator)
    yield METER.close("after the first stage", encoded[0], io["encoder_out"], atol=2e-4, rtol=1e-4)
    yield METER.close("velocity", said, io["v_pred"], atol=2e-4, rtol=1e-4)
    yield METER.close("loss", loss, io["loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    velocity(generator)[1].backward()
    ours = {name: weight.grad for name, weight in generator.named_parameters() if weight.grad is not None}
    theirs = FAMILY.names(generator).published(ours)
    for key in sorted(key for key in io if key.startswith("grad.")):
        yield METER.scaled(f"∂ loss / ∂ {key[5:]}", theirs[key[5:]], io[key], 1e-3)
    yield METER.close("gradient norm", grad_norm(generator), io["grad_norm"], rtol=1e-4)


def who_sees_whom() -> Iterator[Measured]:
    generator = published()
    fed = training_pass(generator).feed
    assert set(fed.kind.tolist()) == {Kind.NOISY}
    yield METER.exact("mask", generator.ordering.see(fed, fed), golden(IO)["train_mask"][0, 0] == 0)


class Recorded(Noise):
    """The recorded noise of a cell: what it begins with, then that of each step."""

    def __init__(self, cell: int) -> None:
        io = golden(IO)
        super().__init__([0, 1], SIDE * SIDE)
        self.draws = [io["gen_init_noise"][cell], *io["gen_step_eps"][cell]]

    def normal(self, token: Tensor, width: int, draw: int = 0) -> Tensor:
        return self.draws[draw]


def samples() -> Iterator[Measured]:
    """Stochastic, with and without guidance that grows from cell to cell, and deterministic."""
    io = golden(IO)
    growing = LinearGuidance(start=1.0, end=SCALE)
    runs: tuple[tuple[str, Guidance], ...] = (
        ("gen_sde_cfg", growing),
        ("gen_sde_nocfg", ConstantGuidance()),
        ("gen_ode_cfg", growing),
    )
    for key, guidance in runs:
        generator = published()
        assert isinstance(generator.head, FlowHead)
        if key == "gen_ode_cfg":
            generator.head.solver, generator.head.times = Euler(), EvenTimes(num_steps=FAMILY.num_steps)

        def draw(predict: Predict, step: Step, head: FlowHead = generator.head, guidance: Guidance = guidance) -> Drawn:
            assert step.progress is not None
            scale = guidance.scale(step.progress)
            return head.draw(predict, step, scale, Sampling(), Recorded(step.progress.step))

        for use_cache in (True, False):
            sampler = Sampler(guidance=guidance, use_cache=use_cache)
            *_, last = sampler.decode(generator, io["gen_labels"], seeds=[0, 1], draw=draw)
            name = key if use_cache else f"{key}, no cache"
            yield METER.close(name, last.tokens, generator.tokenizer.encode(io[key]), atol=1e-3)


QUANTITIES = (teacher_forced, gradients, who_sees_whom, samples)
