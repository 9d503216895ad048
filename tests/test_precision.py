"""Under autocast, norms, modulation, heads and quantizers give what they give in float32, and tokens do not change."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.backbones.modulation import Modulation
from arlab.backbones.norms import LayerNorm, Norm, NormedQK, QKNorm
from arlab.backbones.rotary import AxialRotary
from arlab.cli.precision import choose
from arlab.configurable import Configurable
from arlab.data.digits import Digits
from arlab.discovery import discover
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.discrete import DiscreteHead
from arlab.heads.head import Head, Hidden, Predict, Predicted, Sampling
from arlab.optimization import AdamW
from arlab.orderings.ordering import Drawn, Prefix, condition_slots
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Progress, Read, Step
from arlab.precision import in_float32, upcast
from arlab.rng import BatchRng, Noise, Rng
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokens import TokenSpace
from tests.tiny import tiny_backbone

discover()
WIDTH, BATCH = 24, 3


def concrete(base: type[Configurable]) -> list[Any]:
    """Every class of arlab's that a configuration can name here."""
    found, ahead = [], [base]
    while ahead:
        ahead += (cls := ahead.pop()).__subclasses__()
        named = cls.__module__.startswith("arlab.") and not cls.__module__.startswith("arlab.conformance")
        if named and not inspect.isabstract(cls):
            found.append(cls)
    return sorted(found, key=lambda cls: cls.__name__)


def tensors(value: object) -> list[Tensor]:
    """Every tensor in a result, however it is wrapped."""
    if isinstance(value, Tensor):
        return [value]
    parts: Iterable[object] = value if isinstance(value, (tuple, list)) else ()
    parts = vars(value).values() if dataclasses.is_dataclass(value) else parts
    return [tensor for part in parts for tensor in tensors(part)]


def same_under_autocast(call: Callable[..., object], *inputs: Tensor) -> None:
    """bfloat16 inputs under autocast give what the same numbers give in float32 without it."""
    half = [upcast(x).bfloat16() if x.is_floating_point() else x for x in inputs]
    expected = tensors(call(*map(upcast, half)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = tensors(call(*half))
    assert len(given) == len(expected) > 0
    for one, other in zip(given, expected, strict=True):
        assert (one.dtype == other.dtype) or one.dtype == torch.bfloat16
        torch.testing.assert_close(upcast(one), other, atol=1e-6, rtol=1e-6)


def randomised(module: nn.Module) -> nn.Module:
    """No weight at a value that hides what is computed (zero, one)."""
    for parameter in module.parameters():
        # Not larger where many are summed, or what looks many times leaves all numbers.
        nn.init.normal_(parameter, std=0.7 if parameter.dim() < 2 else 0.7 * min(1, 8 / parameter.shape[-1]))
    return module


# ---- the laws, over every class there is


@pytest.mark.parametrize("cls", concrete(Norm), ids=lambda cls: cls.__name__)
def test_norms(cls: type[Norm]) -> None:
    same_under_autocast(randomised(cls().build(WIDTH)), 3 * torch.randn(BATCH, 5, WIDTH) + 1)


@pytest.mark.parametrize("cls", concrete(QKNorm), ids=lambda cls: cls.__name__)
def test_norms_of_queries_and_keys(cls: type[QKNorm]) -> None:
    module = randomised(cls().build(2, WIDTH))
    same_under_autocast(module, torch.randn(BATCH, 2, 5, WIDTH), 5 * torch.randn(BATCH, 2, 5, WIDTH))


@pytest.mark.parametrize("cls", concrete(Modulation), ids=lambda cls: cls.__name__)
def test_modulation(cls: type[Modulation]) -> None:
    module = randomised(cls().build(WIDTH, 2, 8))
    if cls.active:
        rows = condition_slots(Prefix(5))
        same_under_autocast(lambda condition: module(condition, rows), torch.randn(BATCH, 5, WIDTH))
    else:
        assert not tensors(module(torch.randn(BATCH, 1, WIDTH)))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("cls", concrete(Quantizer), ids=lambda cls: cls.__name__)
def test_quantizers(cls: type[Quantizer], training: bool) -> None:
    def quantise(z_BChw: Tensor) -> object:
        torch.manual_seed(0)
        quantizer = cls()
        quantizer.bind(4, (6, 5))
        state = quantizer.train(training)(z_BChw)
        return state, tuple(quantizer.state_dict().values())

    same_under_autocast(quantise, torch.randn(BATCH, 4, 6, 5))


LAYOUT = Layout(((1, 2),))
READS = {
    1: Read.own(torch.tensor([0, 1]), torch.tensor([0, 1])),
    2: Read(
        torch.tensor([0, 1]),
        slot=torch.tensor([[0, 0], [0, 1]]),
        way=torch.tensor([[1, 0], [0, 1]]),
        weight=torch.tensor([[1.0, 0.0], [0.25, 0.75]]),
    ),
}


def head_obeys(cls: type[Head], ways: int) -> None:
    """Loss, likelihood and draws; the backbone, however, is run under autocast."""
    accepted = 0
    for space in (TokenSpace(2, 7), TokenSpace(2, 8), TokenSpace(2)):
        head = cls()
        try:
            head.bind(WIDTH, space, ways, carries=frozenset({Kind.COND, Kind.TOKEN}))
        except ValueError:
            continue
        accepted += 1
        step = Step(condition_slots(Prefix(2)), READS[ways], Progress(0, 1, 0, 2, 2))
        target = torch.randint(7, (BATCH, 2)) if space.discrete else torch.randn(BATCH, 2, 2)
        randomised(head).eval()

        def everything(*way: Tensor, head: Head = head, step: Step = step, target: Tensor = target) -> object:
            outside = torch.is_autocast_enabled("cpu")

            def predict(noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
                assert torch.is_autocast_enabled("cpu") == outside, "the backbone is run outside autocast"
                half = len(way) // 2
                return Predicted(Hidden(way[:half], step.read, LAYOUT), Hidden(way[half:], step.read, LAYOUT))

            noise = Noise([5, 6, 7], 2)
            return (
                head.loss(predict, step, target, BatchRng(1, BATCH)),
                head.log_prob(predict, step, target),
                head.draw(predict, step, 2.5, Sampling(), noise),
                head.draw(predict, step, 1.0, Sampling(0.7, 4, 0.8), noise),
                head.draw(predict, step, 1.0, Sampling(0.0), noise),
            )

        same_under_autocast(everything, *torch.randn(2 * ways, BATCH, 2, WIDTH))
    assert accepted, f"{cls.__name__} takes neither discrete nor continuous tokens"


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("cls", concrete(Head), ids=lambda cls: cls.__name__)
def test_heads(cls: type[Head], ways: int) -> None:
    head_obeys(cls, ways)


# ---- the laws notice


class Forgetful(Head):
    """Computes under autocast after the hidden vectors are mixed."""

    def __init__(self) -> None:
        super().__init__()

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(ways))
        self.last = nn.Linear(width, space.width)

    def embed(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError

    def values(self, predict: Predict) -> Tensor:
        value_BMC: Tensor = self.last(predict().conditional.mix(list(self.inner)))
        return value_BMC

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        return self.values(predict).square().sum(-1)

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        return Drawn(self.values(predict))


class Mindful(Forgetful):
    def values(self, predict: Predict) -> Tensor:
        return self.from_mixed(predict().conditional.mix(list(self.inner)))

    @in_float32
    def from_mixed(self, mixed_BMD: Tensor) -> Tensor:
        value_BMC: Tensor = self.last(mixed_BMD)
        return value_BMC


class Hasty(Mindful):
    """Runs everything outside autocast, the backbone too."""

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().loss(predict, step, target, rng)


def test_a_head_that_forgets_is_noticed() -> None:
    head_obeys(Mindful, 2)
    with pytest.raises(AssertionError, match="not close"):
        head_obeys(Forgetful, 2)
    with pytest.raises(AssertionError, match="outside autocast"):
        head_obeys(Hasty, 2)


def test_a_norm_that_forgets_is_noticed() -> None:
    with pytest.raises(AssertionError, match="not close"):
        same_under_autocast(randomised(nn.LayerNorm(WIDTH)), torch.randn(BATCH, WIDTH))


# ---- the decorator


def test_without_autocast_nothing_is_converted() -> None:
    seen = in_float32(lambda x: x)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool):
        x = torch.ones(2, dtype=dtype)
        assert seen(x) is x
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert seen(x).dtype == (torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype)


def test_float64_stays_float64() -> None:
    head = DiscreteHead(zero_init=False)
    head.bind(WIDTH, TokenSpace(2, 7), 1, carries=frozenset({Kind.COND, Kind.TOKEN}))
    head.double()
    x = torch.randn(BATCH, 2, WIDTH, dtype=torch.float64)
    step = Step(condition_slots(Prefix(2)), READS[1], Progress(0, 1, 0, 2, 2))
    predicted = Predicted(Hidden((x,), step.read, LAYOUT))
    log_prob = head.log_prob(lambda *_: predicted, step, torch.zeros(BATCH, 2, dtype=torch.long))
    assert log_prob is not None
    assert log_prob.dtype == torch.float64
    assert head.draw(lambda *_: predicted, step, 1.0, Sampling(), Noise([1, 2, 3], 2)).tokens.shape == (BATCH, 2)
    for norm in (NormedQK(norm=LayerNorm()), NormedQK()):
        assert norm.build(2, WIDTH).double()(x[:, None], x[:, None])[0].dtype == torch.float64
    quantizer = VectorQuantizer(codebook_size=8)
    quantizer.bind(4, (6, 5))
    vectors = quantizer.double().eval()(torch.randn(1, 4, 2, 2, dtype=torch.float64)).vectors
    assert vectors.dtype == torch.float64


# ---- attention and rotary positions


def test_rotary_tables_are_float32_even_where_half_is_the_default() -> None:
    rows = Raster().teacher(Layout(((20, 30),)), Prefix(1), BatchRng(0, 1), torch.device("cpu")).feed
    rotation = AxialRotary().rotation(rows, Layout(((20, 30),)), 16, 1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = AxialRotary().rotation(rows, Layout(((20, 30),)), 16, 1)
    assert rotation is not None
    assert again is not None
    assert again.cos.dtype == again.sin.dtype == torch.float32
    assert torch.equal(again.cos, rotation.cos)
    assert torch.equal(again.sin, rotation.sin)
    # Rotated in float32, rounded once.
    x = torch.randn(1, 2, len(rows), 16, dtype=torch.bfloat16)
    assert torch.equal(rotation(x), rotation(x.float()).bfloat16())


def test_softmax_of_attention_sums_in_float32() -> None:
    """A sum in bfloat16 would stop growing at 256 equal terms."""
    q, v = torch.zeros(1, 1, 1, 8), torch.randn(1, 1, 4000, 8)
    k = torch.zeros_like(v)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(mixed.float(), v.bfloat16().float().mean(2, keepdim=True), atol=1e-3, rtol=1e-2)


# ---- training


def digits() -> Digits:
    return Digits(batch_size=64, validation_size=300)


def vq_tokenizer() -> VQTokenizer:
    torch.manual_seed(0)
    return VQTokenizer(
        facts=digits().facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4),
        quantizer=VectorQuantizer(codebook_size=16),
        token_width=4,
        optimizer=AdamW(learning_rate=3e-3, warmup_steps=2),
    )


def generator() -> Generator:
    tokenizer = vq_tokenizer()
    torch.manual_seed(1)
    return Generator(
        tokenizer=tokenizer,
        ordering=Raster(),
        backbone=tiny_backbone(init_std=0.1),
        head=DiscreteHead(),
        conditioner=ClassLabel(),
        optimizer=AdamW(learning_rate=1e-2, warmup_steps=2),
        ema_decay=0.9,
    )


def trained(model: L.LightningModule, precision: Any, folder: Path, accelerator: str = "cpu") -> tuple[float, Path]:
    """The validation loss after a few steps, and the checkpoint."""
    trainer = L.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        max_steps=12,
        limit_val_batches=2,
        val_check_interval=12,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(model, datamodule=digits())
    path = folder / f"{precision}-{accelerator}.ckpt"
    trainer.save_checkpoint(path)
    return float(trainer.callback_metrics["val/loss"]), path


@pytest.mark.parametrize("build", [vq_tokenizer, generator])
def test_trains_in_mixed_precision(build: Callable[[], L.LightningModule], tmp_path: Path) -> None:
    whole, _ = trained(build(), "32-true", tmp_path)
    model = build()
    mixed, path = trained(model, "bf16-mixed", tmp_path)
    assert mixed != whole  # autocast did something
    assert mixed == pytest.approx(whole, rel=0.03)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    checkpoint = torch.load(path, weights_only=True)
    saved = tensors(list(checkpoint["state_dict"].values()))
    assert {t.dtype for t in saved if t.is_floating_point()} == {torch.float32}
    if isinstance(model, Generator):
        images = Sampler().sample(model.eval(), torch.tensor([1, 2]), seeds=[0, 1]).images
        assert images.isfinite().all()


def test_tokens_do_not_depend_on_the_precision() -> None:
    """Images that stay the same are tokenised before training, outside autocast; those of validation inside."""
    frozen = generator().tokenizer
    assert isinstance(frozen.module, Tokenizer)
    image = torch.rand(64, 1, 8, 8) * 2 - 1
    tokens = frozen.encode(image)
    pixels = frozen.decode(tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(frozen.encode(image), tokens)
        assert torch.equal(frozen.decode(tokens), pixels)
        # Without the care of FrozenTokenizer they would.
        assert not torch.equal(frozen.module.decode(tokens), pixels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_trains_on_a_gpu_as_on_the_cpu(tmp_path: Path) -> None:
    on_cpu, _ = trained(generator(), "32-true", tmp_path)
    precision = choose("cuda", 1, None)
    on_gpu, path = trained(generator(), precision, tmp_path, "cuda")
    assert on_gpu == pytest.approx(on_cpu, rel=0.05)
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float32}
