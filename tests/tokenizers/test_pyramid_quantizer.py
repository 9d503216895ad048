"""One codebook along a pyramid: VAR's, RQ-VAE's and the like, against their formulas and recorded numbers.

Letters: B batch, C vector width, N tokens, T vectors.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F

from arlab.configurable import from_spec
from arlab.data.digits import Digits
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.discrete import DiscreteHead
from arlab.optimization import AdamW
from arlab.orderings.next_scale import NextScale
from arlab.pyramids.depth import DepthPyramid
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.runs.checkpoint import read, rebuild
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.quantizers.bsq import BSQ
from arlab.tokenizers.quantizers.fsq import FSQ
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.kl import KL
from arlab.tokenizers.quantizers.lfq import LFQ
from arlab.tokenizers.quantizers.passage import RotationTrick, StraightThrough
from arlab.tokenizers.quantizers.phi import PhiConvolutions
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.quantizer import Codebook, Quantized, Quantizer
from arlab.tokenizers.quantizers.simvq import SimVQ
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.goldens import golden
from tests.pyramids.test_pyramid import ALL as PYRAMIDS
from tests.short_runs import StopAfter, digits, trainer
from tests.tiny import tiny_backbone

SHAPE = (4, 6)
CODEBOOKS: tuple[Codebook, ...] = (
    VectorQuantizer(codebook_size=16),
    GradientVectorQuantizer(codebook_size=16),
    SimVQ(codebook_size=16),
    FSQ(levels=[5, 5, 5]),
    LFQ(),
    BSQ(),
)


def bound(
    pyramid: Pyramid | None = None,
    codebook: Codebook | None = None,
    refinement: PhiConvolutions | None = None,
    shape: tuple[int, ...] = SHAPE,
    share_codebook: bool = True,
    commitment_weight: float = 0.25,
) -> PyramidQuantizer:
    torch.manual_seed(0)
    quantizer = PyramidQuantizer(
        pyramid=pyramid,
        quantizer=GradientVectorQuantizer(codebook_size=16) if codebook is None else copy.deepcopy(codebook),
        refinement=refinement,
        share_codebook=share_codebook,
        commitment_weight=commitment_weight,
    )
    quantizer.bind(3, shape)
    return quantizer


def latents(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    return torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(seed))


# ---- published numbers


def test_parity() -> None:
    """VAR's quantizer: the same tokens, maps, loss and generator inputs."""
    weights, io = golden("varA_vae_quant_fp16"), golden("varA_io")
    quantizer = PyramidQuantizer(
        pyramid=ScalePyramid(patch_nums=[1, 2, 3, 4]),
        quantizer=GradientVectorQuantizer(codebook_size=512),
        refinement=PhiConvolutions(),
    )
    quantizer.bind(16, (4, 4))
    names = {"codebooks.0.codebook": "quantize.embedding.weight"}
    for level in range(4):
        for name in ("weight", "bias"):
            names[f"refinement.convolutions.{level}.{name}"] = f"quantize.quant_resi.qresi_ls.{level}.{name}"
    quantizer.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()}, strict=False)
    quantized = quantizer.eval()(io["f"])
    assert torch.equal(quantized.tokens, io["gt_BL"])
    torch.testing.assert_close(quantized.vectors, io["vq_forward_fhat"], atol=5e-5, rtol=0)
    torch.testing.assert_close(quantized.loss, io["vq_loss"].reshape(()), atol=0, rtol=1e-5)
    vectors_BNC, inputs = quantizer.vectors(quantized.tokens), []
    for level, grid in enumerate(quantizer.layout.shapes):
        assert torch.equal(quantized.tokens[:, quantizer.layout.tokens(level)], io[f"idx_{level}"])
        torch.testing.assert_close(quantizer.assemble(vectors_BNC, level + 1), io[f"fhat_{level}"], atol=5e-5, rtol=0)
        inputs.append(F.adaptive_avg_pool2d(quantizer.assemble(vectors_BNC, level), grid).flatten(2).mT)
    torch.testing.assert_close(torch.cat(inputs[1:], 1), io["x_BLCv_wo_first_l"], atol=5e-5, rtol=0)


# ---- every pyramid, every codebook


@pytest.mark.parametrize("pyramid", PYRAMIDS, ids=[f"{type(each).__name__}{n}" for n, each in enumerate(PYRAMIDS)])
@pytest.mark.parametrize("codebook", CODEBOOKS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("share_codebook", [True, False], ids=["shared", "own"])
def test_every_pair(pyramid: Pyramid, codebook: Codebook, share_codebook: bool) -> None:
    if pyramid.residual and not codebook.any_size:
        with pytest.raises(ValueError, match=r"quantizer\.quantizer: FSQ's steps are the same on every level"):
            PyramidQuantizer(pyramid=pyramid, quantizer=codebook)
        return
    refinement = PhiConvolutions(num=2) if pyramid.residual else None
    quantizer = bound(pyramid, codebook, refinement, share_codebook=share_codebook)
    z = latents().requires_grad_()
    quantized = quantizer.train()(z)
    _check_training(quantizer, quantized, z)

    quantizer.eval()
    quantized = quantizer(z.detach())
    assert quantizer.codebook_size is not None
    assert 0 <= int(quantized.tokens.min()) <= int(quantized.tokens.max()) < quantizer.codebook_size
    vectors_BNC = quantizer.vectors(quantized.tokens)
    assert vectors_BNC.shape == (2, quantizer.layout.num_tokens, 3)
    torch.testing.assert_close(quantizer.assemble(vectors_BNC), quantized.vectors)
    _check_canvases(quantizer, vectors_BNC)


def _check_training(quantizer: PyramidQuantizer, quantized: Quantized, z: Tensor) -> None:
    assert quantized.tokens.shape == (2, quantizer.layout.num_tokens)
    assert quantized.tokens.dtype == torch.int64
    assert quantized.vectors.shape == z.shape
    (through,) = torch.autograd.grad(quantized.vectors.sum(), z, retain_graph=True)
    assert torch.equal(through, torch.ones_like(z))
    quantized.loss.backward()
    assert z.grad is not None
    assert float(z.grad.abs().sum()) > 0
    for parameter in quantizer.parameters():
        assert parameter.grad is not None
        # Own codebooks of a few cells start from exactly these, and have nothing to learn from them.
        assert float(parameter.grad.abs().sum()) > 0 or not quantizer.share_codebook
    figures = set(quantized.figures)
    assert {f"residual_level_{level}" for level in range(len(quantizer.layout.shapes))} <= figures
    assert all(figure.dim() == 0 and bool(figure.isfinite()) for figure in quantized.figures.values())


def _check_canvases(quantizer: PyramidQuantizer, vectors_BNC: Tensor) -> None:
    """The canvas of the levels below one does not look at the others."""
    assert torch.equal(quantizer.assemble(vectors_BNC, 0), torch.zeros(2, 3, *SHAPE))
    for level in range(len(quantizer.layout.shapes)):
        hidden = vectors_BNC.clone()
        hidden[:, quantizer.layout.first[level] :] = torch.nan
        assert torch.equal(quantizer.assemble(hidden, level), quantizer.assemble(vectors_BNC, level))


@pytest.mark.parametrize("shape", [(7,), (5, 9), (3, 4, 5)], ids=str)
def test_one_two_and_three_axes(shape: tuple[int, ...]) -> None:
    quantizer = bound(refinement=PhiConvolutions(num=0), shape=shape).eval()
    quantized = quantizer(latents(shape))
    torch.testing.assert_close(quantizer.assemble(quantizer.vectors(quantized.tokens)), quantized.vectors)


# ---- the loss


def test_vars_loss_by_hand() -> None:
    pyramid = ScalePyramid(patch_nums=[1, [2, 3], [4, 6]])
    quantizer = bound(pyramid, refinement=PhiConvolutions(), commitment_weight=0.3).eval()
    z = latents().requires_grad_()
    quantized = quantizer(z)

    codebook, phi = quantizer.quantizer.get_parameter("codebook"), quantizer.refinement
    assert phi is not None
    rest, parts = z.detach(), []
    for level, grid in enumerate(quantizer.layout.shapes):
        small = F.adaptive_avg_pool2d(rest, grid).permute(0, 2, 3, 1)
        ids = torch.cdist(small.reshape(-1, 3), codebook).argmin(-1).view(2, *grid)
        assert torch.equal(ids.flatten(1), quantized.tokens[:, quantizer.layout.tokens(level)])
        up = F.interpolate(F.embedding(ids, codebook).permute(0, 3, 1, 2), SHAPE, mode="bicubic")
        parts.append(phi(up, level))
        rest = rest - parts[-1].detach()
    totals = list(accumulate(parts))
    expected = torch.stack([0.3 * F.mse_loss(z, t.detach()) + F.mse_loss(t, z.detach()) for t in totals]).mean()
    torch.testing.assert_close(quantized.loss, expected)
    torch.testing.assert_close(quantized.vectors, totals[-1])
    for level, total in enumerate(totals):
        left_over = (z - total).square().sum() / z.square().sum()
        torch.testing.assert_close(quantized.figures[f"residual_level_{level}"], left_over.detach())

    wanted = [z, codebook, *phi.parameters()]
    ours, theirs = torch.autograd.grad(quantized.loss, wanted), torch.autograd.grad(expected, wanted)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_levels_that_stand_alone_are_compared_on_their_own_grids() -> None:
    quantizer = bound(ScalePyramid(patch_nums=[1, 3, 6], residual=False)).eval()
    z = latents()
    quantized = quantizer(z)
    expected = []
    for level, grid in enumerate(quantizer.layout.shapes):
        here = quantizer.vectors(quantized.tokens)[:, quantizer.layout.tokens(level)]
        expected.append(1.25 * F.mse_loss(here.mT.unflatten(-1, grid), F.adaptive_avg_pool2d(z, grid)))
    torch.testing.assert_close(quantized.loss, torch.stack(expected).mean())
    last = quantizer.vectors(quantized.tokens)[:, quantizer.layout.tokens(2)].mT.unflatten(-1, SHAPE)
    torch.testing.assert_close(quantized.vectors, last)


def test_the_regularizers_reach_the_encoder() -> None:
    """Entropies are of what each level reads, so they pull at the latents."""
    quantizer = bound(codebook=LFQ(entropy_weight=1.0), commitment_weight=0.0).train()
    z = latents().requires_grad_()
    quantizer(z).loss.backward()
    assert z.grad is not None
    assert float(z.grad.abs().sum()) > 0


def test_more_depth_leaves_less_over() -> None:
    quantizer = bound(DepthPyramid(depth=4), VectorQuantizer(codebook_size=16))
    for _ in range(30):
        figures = quantizer.train()(latents()).figures
    left = [float(figures[f"residual_level_{level}"]) for level in range(4)]
    assert left == sorted(left, reverse=True)
    assert left[3] < 0.5 * left[0]


# ---- codebooks


class Watched(VectorQuantizer):
    """Writes down what it is told."""

    def __init__(self, *, codebook_size: int = 16) -> None:
        super().__init__(codebook_size=codebook_size)
        self.told: list[tuple[str, int]] = []

    def start(self, z_TC: Tensor) -> None:
        self.told.append(("start", len(z_TC)))
        super().start(z_TC)

    def update(self, z_TC: Tensor, ids_T: Tensor) -> Mapping[str, Tensor]:
        self.told.append(("update", len(ids_T)))
        assert not z_TC.requires_grad
        return super().update(z_TC, ids_T)


def watched(quantizer: PyramidQuantizer, level: int) -> list[tuple[str, int]]:
    codebook = quantizer.codebook(level)
    assert isinstance(codebook, Watched)
    return codebook.told


def test_a_shared_codebook_is_told_of_all_levels_once_a_step() -> None:
    quantizer = bound(ScalePyramid(patch_nums=[1, 3, 6]), Watched()).train()
    quantized = quantizer(latents().requires_grad_())
    total = 2 * quantizer.layout.num_tokens
    assert watched(quantizer, 0) == [("start", total), ("update", total)]
    assert "revived" in quantized.figures
    quantizer.eval()(latents())
    assert len(watched(quantizer, 0)) == 2
    assert len([key for key in quantizer.state_dict() if key.endswith("codebook")]) == 1


@pytest.mark.parametrize("pyramid", PYRAMIDS, ids=[f"{type(each).__name__}{n}" for n, each in enumerate(PYRAMIDS)])
def test_a_codebook_starts_from_something_at_every_level(pyramid: Pyramid) -> None:
    """Unquantised, the later depths would be zeros, and so would be the codes."""
    quantizer = bound(pyramid, VectorQuantizer(codebook_size=8, revive_below=0.0), share_codebook=False).train()
    quantizer(latents())
    for level in range(len(quantizer.layout.shapes)):
        assert float(quantizer.codebook(level).get_buffer("codebook").abs().mean()) > 0.01


def test_own_codebooks_are_told_of_their_levels() -> None:
    quantizer = bound(ScalePyramid(patch_nums=[1, 3, 6]), Watched(), share_codebook=False).train()
    quantized = quantizer(latents())
    for level, size in enumerate(quantizer.layout.sizes):
        assert watched(quantizer, level) == [("start", 2 * size), ("update", 2 * size)]
        assert f"revived_level_{level}" in quantized.figures
    codes = [quantizer.codebook(level).get_buffer("codebook") for level in range(3)]
    assert not torch.equal(codes[1], codes[2])
    ids = torch.zeros(1, quantizer.layout.num_tokens, dtype=torch.int64)
    vectors_NC = quantizer.vectors(ids)[0]
    for level in range(3):
        assert torch.equal(vectors_NC[quantizer.layout.first[level]], codes[level][0])
    quantizer.bind(3, SHAPE)  # again: still one each
    assert len(quantizer.codebooks) == 3


# ---- precision


def test_under_autocast_it_computes_in_float32() -> None:
    quantizer = bound(refinement=PhiConvolutions()).eval()
    z = latents().bfloat16().float()
    plain = quantizer(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = quantizer(z.bfloat16())
        canvas = quantizer.assemble(quantizer.vectors(cast.tokens), 2)
    assert torch.equal(cast.tokens, plain.tokens)
    torch.testing.assert_close(cast.loss, plain.loss)
    assert torch.equal(canvas, quantizer.assemble(quantizer.vectors(plain.tokens), 2))


# ---- refusals


@pytest.mark.parametrize("wrong", [KL(), PyramidQuantizer()], ids=lambda each: type(each).__name__)
def test_other_quantizers_are_refused(wrong: Quantizer) -> None:
    told = rf"^quantizer\.quantizer: expected a codebook such as VectorQuantizer, got {type(wrong).__name__}$"
    with pytest.raises(ValueError, match=told):
        PyramidQuantizer(quantizer=wrong)  # type: ignore[arg-type]


def test_phi_is_refused_where_levels_do_not_add_up() -> None:
    with pytest.raises(ValueError, match=r"^quantizer\.refinement: belongs to residual pyramids"):
        PyramidQuantizer(pyramid=ScalePyramid(residual=False), refinement=PhiConvolutions())


@pytest.mark.parametrize(
    ("codebook", "told"),
    [
        (VectorQuantizer(commitment_weight=1.0), "commitment_weight: .*, got 1.0; set quantizer.commitment_weight"),
        (BSQ(commitment_weight=0.25), "commitment_weight: .*, got 0.25; set quantizer.commitment_weight"),
        (SimVQ(codebook_weight=2.0), "codebook_weight: .*, got 2.0; leave it out and weigh"),
        (GradientVectorQuantizer(passage=RotationTrick()), "passage: .*, got RotationTrick; leave it out"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_a_pyramid_does_not_use_of_a_codebook_is_refused(codebook: Codebook, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^quantizer\.quantizer\.{told}"):
        PyramidQuantizer(quantizer=codebook)
    PyramidQuantizer(quantizer=VectorQuantizer(commitment_weight=0.25, passage=StraightThrough()))  # as without


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_impossible_weights_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=r"^quantizer\.commitment_weight: must be at least 0"):
        PyramidQuantizer(commitment_weight=weight)


def test_it_is_rebuilt_from_its_record() -> None:
    quantizer = bound(DepthPyramid(depth=2), refinement=PhiConvolutions(num=1), share_codebook=False)
    rebuilt = from_spec(quantizer.spec(), PyramidQuantizer)
    assert rebuilt.spec() == quantizer.spec()
    assert PyramidQuantizer().spec()["init_args"] == {
        "pyramid": ScalePyramid().spec(),
        "quantizer": VectorQuantizer().spec(),
        "refinement": None,
        "share_codebook": True,
        "commitment_weight": 0.25,
        "random_level": 0.0,
    }
    rebuilt.bind(3, SHAPE)
    rebuilt.load_state_dict(quantizer.state_dict())


# ---- in a tokenizer


def tokenizer_of(facts: DataFacts) -> VQTokenizer:
    torch.manual_seed(0)
    return VQTokenizer(
        facts=facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4),
        quantizer=PyramidQuantizer(
            pyramid=ScalePyramid(),
            quantizer=VectorQuantizer(codebook_size=16, decay=0.9, revive_below=0.5),
            refinement=PhiConvolutions(num=2),
        ),
        token_width=4,
        optimizer=AdamW(learning_rate=3e-3, warmup_steps=2),
    )


def test_tokens_of_a_wide_image() -> None:
    tokenizer = tokenizer_of(DataFacts("made up", 3, (6, 10))).eval()
    assert tokenizer.layout.shapes == ((1, 1), (1, 2), (3, 5))
    image = torch.rand(2, 3, 6, 10) * 2 - 1
    tokens = tokenizer.encode(image)
    assert tokens.shape == (2, 18)
    direct = tokenizer.autoencoder.decode(tokenizer.quantizer(tokenizer.autoencoder.encode(image)).vectors)
    torch.testing.assert_close(tokenizer.decode(tokens), direct.clamp(-1, 1))
    canvas = tokenizer.canvas(tokens, 2)
    assert canvas.shape == (2, 4, 3, 5)
    known_BN = torch.arange(18).expand(2, -1) < 3  # the first two levels
    preview = tokenizer.preview(tokens, known_BN)
    torch.testing.assert_close(preview, tokenizer.autoencoder.decode(canvas).clamp(-1, 1))
    torch.testing.assert_close(tokenizer.preview(tokens, known_BN | True), tokenizer.decode(tokens))


def test_it_trains_is_rebuilt_and_resumes_exactly(tmp_path: Path) -> None:
    whole = tokenizer_of(Digits().facts)
    run = trainer(tmp_path, 4, num_sanity_val_steps=1)
    run.fit(whole, digits())
    assert {"train/residual_level_2", "train/revived"} <= set(run.logged_metrics)
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    half = tokenizer_of(Digits().facts)
    # The schedule spans max_steps, so the first half is a run of 4 steps that is stopped after 2.
    stopped = trainer(tmp_path, 4, num_sanity_val_steps=1, enable_checkpointing=True, callbacks=[saving, StopAfter(2)])
    stopped.fit(half, digits())
    resumed = tokenizer_of(Digits().facts)
    trainer(tmp_path, 4, num_sanity_val_steps=1).fit(resumed, digits(), ckpt_path=tmp_path / "step=2.ckpt")
    expected = whole.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in resumed.state_dict().items())

    rebuilt = rebuild(read(tmp_path / "step=2.ckpt"), Tokenizer)
    assert rebuilt.spec() == half.spec()
    image = torch.rand(4, 1, 8, 8) * 2 - 1
    half.eval()
    assert torch.equal(rebuilt.encode(image), half.encode(image))
    assert torch.equal(rebuilt.decode(rebuilt.encode(image)), half.decode(half.encode(image)))


def test_figures_of_each_level(tmp_path: Path) -> None:
    figures = trainer(tmp_path, 1).validate(tokenizer_of(Digits().facts), digits(), verbose=False)[0]
    for level in range(3):
        assert {f"val/usage_level_{level}", f"val/perplexity_level_{level}", f"val/residual_level_{level}"} <= set(
            figures
        )


# ---- in a generator


def test_a_generator_takes_its_canvas_as_it_is_under_autocast() -> None:
    tokenizer = tokenizer_of(DataFacts("made up", 3, (6, 10), ("a", "b"))).eval()
    generator = Generator(
        tokenizer=tokenizer,
        ordering=NextScale(),
        backbone=tiny_backbone(),
        head=DiscreteHead(zero_init=False),
        ema_decay=0.0,
    )
    tokens = torch.randint(16, (2, 18))
    plain = generator.tokenizer.canvases(tokens, [2])[0]
    assert not plain.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(generator.tokenizer.canvases(tokens, [2])[0], plain)
    samples = Sampler().sample(generator, torch.tensor([0, 1]), seeds=[0, 1])
    assert samples.tokens.shape == (2, 18)
