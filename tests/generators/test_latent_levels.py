"""Continuous tokens of one level, split into levels for orderings that go from level to level."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.backbones.attention import Attention
from arlab.backbones.modulation import AdaLN
from arlab.backbones.resized_places import ResizedPlaces
from arlab.backbones.transformer import Transformer
from arlab.configurable import from_spec
from arlab.data.data import Batch, Tokenized
from arlab.data.digits import Digits
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.flow import FlowHead
from arlab.heads.head import Head, Predict
from arlab.heads.step_transformer import StepTransformer
from arlab.heads.time_grids import EvenTimes
from arlab.orderings.next_depth import NextDepth
from arlab.orderings.next_frequency import NextFrequency
from arlab.orderings.next_scale import NextScale
from arlab.orderings.ordering import Drawn, Ordering, Prefix
from arlab.orderings.scale_schedules import RandomScales
from arlab.orderings.step import Layout, Step
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.rng import BatchRng
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.identity import identity
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.trained import Trained
from tests.short_runs import StopAfter, trainer

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
LABELS = torch.tensor([3, 1, 4])
SCALES = NextScale(patch_nums=[1, 2, 4])
ORDERINGS = {
    "scales": SCALES,
    "residual scales": NextScale(pyramid=ScalePyramid(patch_nums=[1, 3, 4])),
    "bands": NextFrequency(),
    "coarse bands": NextFrequency(pyramid=FrequencyPyramid(bands=[2, 4])),
}
EACH = pytest.mark.parametrize("ordering", ORDERINGS.values(), ids=ORDERINGS)
DRAWN = NextScale(schedule=RandomScales(ranges=[(1, 2, 1), (3, 4, 1)]))


def autoencoder() -> ConvAutoencoder:
    return ConvAutoencoder(channels=8, channel_multipliers=[1, 1], res_blocks=1, norm_groups=4)


def tokenizer() -> KLTokenizer:
    """8 x 8 images to 4 x 4 vectors of 4 numbers, uncertain ones."""
    torch.manual_seed(0)
    return KLTokenizer(facts=Digits().facts, autoencoder=autoencoder(), token_width=4).eval()


def generator(ordering: Ordering, *, of: Tokenizer | None = None, head: Head | None = None) -> Generator:
    torch.manual_seed(1)
    return Generator(
        tokenizer=tokenizer() if of is None else of,
        ordering=ordering,
        backbone=Transformer(
            width=16,
            num_layers=1,
            attention=Attention(num_heads=2),
            places=[ResizedPlaces(size=8)],
            modulation=AdaLN(),
        ),
        head=flow() if head is None else head,
        ema_decay=0.0,
    )


def flow() -> FlowHead:
    return FlowHead(denoiser=StepTransformer(width=16, num_blocks=1, num_heads=2), times=EvenTimes(num_steps=3))


def shaken(made: Generator) -> Generator:
    """With weights far enough from zero that every part matters."""
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made.eval()


@EACH
def test_all_levels_put_back_are_the_latent(ordering: Ordering) -> None:
    frozen = generator(ordering).tokenizer
    own = frozen.module.encode(IMAGES)
    levels = frozen.split(own)
    assert own.shape == (3, 16, 4)
    assert levels.shape == (3, frozen.layout.num_tokens, 4)
    assert torch.equal(frozen.encode(IMAGES), levels)
    (z,) = frozen.canvases(levels, [len(frozen.layout.shapes)])
    torch.testing.assert_close(z.flatten(2).mT, own, rtol=0, atol=1e-5)
    torch.testing.assert_close(frozen.decode(levels), frozen.module.decode(own), rtol=0, atol=1e-5)
    if ordering is SCALES:
        # The last scale is the latent itself.
        assert torch.equal(levels[:, -16:], own)
        assert torch.equal(frozen.decode(levels), frozen.module.decode(own).clamp(-1, 1))


def test_a_slot_carries_the_scale_before_brought_to_its_grid() -> None:
    """FlowAR's input: up to the latent's grid, then the area of the cells."""
    made = generator(SCALES)
    levels = made.tokenizer.encode(IMAGES)
    fed = made.ordering.compute(levels, torch.arange(1, 21), made.layout, made.tokenizer)
    z = made.tokenizer.module.encode(IMAGES).mT.unflatten(-1, (4, 4))
    expected = []
    for before, grid in ((1, 2), (2, 4)):
        scale = F.adaptive_avg_pool2d(z, before)
        whole = F.interpolate(scale, (4, 4), mode="bicubic")
        expected.append(F.adaptive_avg_pool2d(whole, grid).flatten(2).mT)
    assert torch.equal(fed, torch.cat(expected, 1))


@EACH
@pytest.mark.parametrize("use_cache", [True, False])
def test_decoding_builds_what_teacher_forcing_does(ordering: Ordering, use_cache: bool) -> None:
    made = shaken(generator(ordering))
    levels = made.tokenizer.encode(IMAGES)
    condition = made.conditioner(LABELS)
    whole = made.ordering.training(made.layout, Prefix(1), BatchRng(0, 3))
    hidden_BND = made.teacher_predict(whole, levels, condition)().conditional.mix([nn.Identity()])
    seen: list[Tensor] = []

    def truth(predict: Predict, step: Step) -> Drawn:
        seen.append(predict().conditional.mix([nn.Identity()]))
        return Drawn(levels[:, step.read.token])

    *_, last = Sampler(use_cache=use_cache).decode(made, LABELS, seeds=range(3), draw=truth)
    assert torch.equal(last.tokens, levels)
    torch.testing.assert_close(torch.cat(seen, 1), hidden_BND, rtol=0, atol=1e-5)
    assert hidden_BND.std() > 0.1


@pytest.mark.parametrize("ordering", [SCALES, DRAWN], ids=["scales", "scales drawn"])
def test_it_resumes_exactly_on_uncertain_latents(tmp_path: Path, ordering: NextScale) -> None:
    data = Digits(batch_size=100, validation_size=1100)
    assert tokenizer().encoded(IMAGES).deviation is not None
    whole = generator(ordering)
    trainer(tmp_path, 4).fit(whole, data)
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    trainer(tmp_path, 4, enable_checkpointing=True, callbacks=[saving, StopAfter(2)]).fit(generator(ordering), data)
    resumed = generator(ordering)
    trainer(tmp_path, 4).fit(resumed, data, ckpt_path=tmp_path / "step=2.ckpt")
    expected = whole.state_dict()
    assert all(torch.equal(expected[name], weight) for name, weight in resumed.state_dict().items())


@pytest.mark.parametrize("ordering", [SCALES, DRAWN], ids=["scales", "scales drawn"])
def test_tokens_made_before_train_as_images_do(ordering: NextScale) -> None:
    made = generator(ordering)
    own = made.tokenizer.module
    made.refuse_tokens(Tokenized("folder", "KLTokenizer", identity(own)))
    with pytest.raises(ValueError, match="is stale"):
        made.refuse_tokens(Tokenized("folder", "KLTokenizer", "0" * 64))
    encoded = made.tokenizer.encoded(IMAGES)
    assert encoded.tokens.shape == (3, 16, 4)
    row = torch.arange(3)
    layout = made._layout(0)
    drawn = [
        made.tokenizer.at(layout).split(made._drawn(made._encoded(batch, None, layout), 0))
        for batch in (Batch(IMAGES, LABELS, row), Batch(IMAGES[:, 0, 0, :0], LABELS, row, *encoded))
    ]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (3, layout.num_tokens, 4)
    assert not torch.equal(drawn[0], made.tokenizer.at(layout).split(encoded.tokens))


@pytest.mark.parametrize(
    ("patch_nums", "size"),
    [([1, 2, 3, 4], (8, 8)), ([2, 4], (8, 8)), ([1, 3, 6], (12, 12)), ([1, [2, 4], [4, 8]], (8, 16))],
    ids=str,
)
def test_it_samples_other_scales_and_sizes(patch_nums: list[int | list[int]], size: tuple[int, int]) -> None:
    trained = Trained(shaken(generator(SCALES)))
    sizes = []
    options = {"num_images": 3, "patch_nums": patch_nums, "seed": 1, "guidance_scale": 2.0}
    made = trained.sample(**options, on_step=lambda partial: sizes.append(partial.preview().shape[-2:]))  # type: ignore[arg-type]
    assert made.images.shape == (3, 1, *size)
    assert set(sizes) == {size}
    again = trained.sample(**options, batch_size=1)  # type: ignore[arg-type]
    torch.testing.assert_close(made.tokens, again.tokens)


def test_levels_tell_no_likelihood_of_the_latent() -> None:
    """They say the same thing several times, so their density could be as high as one likes."""
    made = generator(SCALES)
    levels = made.tokenizer.encode(IMAGES)
    assert made.log_prob(levels, LABELS) is None
    assert made.bound(levels, LABELS, BatchRng(0, 3)) is None


@EACH
def test_it_is_rebuilt_as_it_was(ordering: Ordering) -> None:
    made = shaken(generator(ordering))
    again = from_spec(made.spec(), Generator)
    again.load_state_dict(made.state_dict())
    again.tokenizer.module.load_state_dict(made.tokenizer.module.state_dict())
    samples = [Sampler().sample(each.eval(), LABELS, seeds=range(3)) for each in (made, again)]
    assert torch.equal(samples[0].images, samples[1].images)
    assert again.layout == made.layout
    assert again.tokenizer.module.layout == Layout(((4, 4),))


def test_a_preview_is_of_the_levels_known() -> None:
    made = shaken(generator(SCALES))
    levels = made.tokenizer.encode(IMAGES)
    known_BN = (made.layout.level_N < 2).expand(3, -1)
    (canvas,) = made.tokenizer.canvases(levels, [2])
    expected = made.tokenizer.module.decode(canvas.flatten(2).mT)
    preview = made.tokenizer.on(levels.device).preview
    torch.testing.assert_close(preview(levels, known_BN), expected)
    nothing = preview(levels, torch.zeros_like(known_BN))
    torch.testing.assert_close(nothing, made.tokenizer.module.decode(torch.zeros(3, 16, 4)))


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"NextDepth goes from depth to depth .* choose NextScale or NextFrequency"):
        generator(NextDepth())
    codes = VQTokenizer(facts=Digits().facts, autoencoder=autoencoder(), token_width=4)
    with pytest.raises(ValueError, match=r"NextScale goes from level to level, .* or a KLTokenizer"):
        generator(NextScale(), of=codes)
    scales = PyramidQuantizer(pyramid=ScalePyramid(patch_nums=[1, 2, 4]))
    levels = VQTokenizer(facts=Digits().facts, autoencoder=autoencoder(), quantizer=scales, token_width=4)
    with pytest.raises(ValueError, match=r"ordering\.pyramid: .* lie on levels of its own; leave it out"):
        generator(NextScale(pyramid=ScalePyramid()), of=levels)
    with pytest.raises(ValueError, match=r"ordering\.schedule: draws other scales, but those of a residual pyramid"):
        generator(NextScale(pyramid=ScalePyramid(), schedule=RandomScales()))
    with pytest.raises(ValueError, match=r"patch_nums: \[1, 4\] are other scales than \[1, 2, 4\] of"):
        generator(NextScale(pyramid=ScalePyramid(patch_nums=[1, 2, 4]), patch_nums=[1, 4]))
    with pytest.raises(ValueError, match=r"the last level is \[5, 5\], but must be the latent's own grid"):
        generator(NextScale(patch_nums=[1, 5]))
    with pytest.raises(ValueError, match="levels of a FrequencyPyramid cannot be exchanged"):
        Trained(generator(NextFrequency())).sample(num_images=1, patch_nums=[1, 4])
