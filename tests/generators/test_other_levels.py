"""A generator of ground-truth scales: trained on levels drawn in every step, sampled on levels it never saw."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from arlab.backbones.attention import Attention
from arlab.backbones.places import LevelPlaces
from arlab.backbones.resized_places import ResizedPlaces
from arlab.backbones.transformer import Transformer
from arlab.configurable import from_spec
from arlab.data.data import Tokenized
from arlab.data.digits import Digits
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.level_inputs import Previous
from arlab.orderings.next_scale import NextScale
from arlab.orderings.scale_schedules import RandomScales
from arlab.orderings.step import Layout
from arlab.pyramids.scale import ScalePyramid
from arlab.rng import Rng
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.trained import Trained
from tests.short_runs import StopAfter, trainer


def tokenizer(*, residual: bool = False) -> VQTokenizer:
    """8 x 8 images to scales of 1 x 1, 2 x 2 and 4 x 4."""
    torch.manual_seed(0)
    made = VQTokenizer(
        facts=Digits().facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 1], res_blocks=1, norm_groups=4),
        quantizer=PyramidQuantizer(
            pyramid=ScalePyramid(patch_nums=[1, 2, 4], residual=residual), quantizer=VectorQuantizer(codebook_size=16)
        ),
        token_width=4,
    )
    made.train()
    made.quantizer(made.autoencoder.encode(torch.rand(64, 1, 8, 8) * 2 - 1))
    return made.eval()


def generator(ordering: NextScale, *, residual: bool = False, places: bool = True) -> Generator:
    torch.manual_seed(1)
    return Generator(
        tokenizer=tokenizer(residual=residual),
        ordering=ordering,
        backbone=Transformer(
            width=16,
            num_layers=1,
            attention=Attention(num_heads=2),
            places=[ResizedPlaces(size=8)] if places else [LevelPlaces()],
        ),
        head=DiscreteHead(zero_init=False),
        ema_decay=0.0,
    )


FLEX = NextScale(level_input=Previous(), schedule=RandomScales(ranges=[(1, 2, 1), (3, 4, 1)]))


class _Layouts(NextScale):
    """Notes what it trains on."""

    seen: list[Layout]

    def draw_layout(self, layout: Layout, rng: Rng) -> Layout:
        self.seen.append(super().draw_layout(layout, rng))
        return self.seen[-1]


def test_it_trains_on_levels_drawn_and_resumes_exactly(tmp_path: Path) -> None:
    data = Digits(batch_size=100, validation_size=1100)
    ordering = _Layouts(level_input=Previous(), schedule=FLEX.schedule)
    ordering.seen = []
    whole = generator(ordering)
    trainer(tmp_path, 4).fit(whole, data)
    assert len(ordering.seen) == 4
    assert len(set(ordering.seen)) > 1
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    trainer(tmp_path, 4, enable_checkpointing=True, callbacks=[saving, StopAfter(2)]).fit(generator(FLEX), data)
    resumed = generator(FLEX)
    trainer(tmp_path, 4).fit(resumed, data, ckpt_path=tmp_path / "step=2.ckpt")
    expected = whole.state_dict()
    assert all(torch.equal(expected[name], weight) for name, weight in resumed.state_dict().items())


@pytest.mark.parametrize(
    ("patch_nums", "size"),
    [([1, 2, 3, 4], (8, 8)), ([2, 4], (8, 8)), ([1, 3], (6, 6)), ([1, [2, 4], [4, 8]], (8, 16))],
    ids=str,
)
def test_it_samples_other_levels_sizes_and_proportions(
    patch_nums: list[int | list[int]], size: tuple[int, int]
) -> None:
    trained = Trained(generator(FLEX))
    made = trained.sample(num_images=3, patch_nums=patch_nums, seed=1)
    assert made.images.shape == (3, 1, *size)
    # What was predicted is what is decoded: the last level alone, since each is the whole image.
    again = trained.sample(num_images=3, patch_nums=patch_nums, seed=1, batch_size=1)
    assert torch.equal(made.tokens, again.tokens)


def test_levels_of_its_own_choice() -> None:
    made = generator(NextScale(patch_nums=[1, 3, 4], level_input=Previous()))
    assert made.layout.shapes == ((1, 1), (3, 3), (4, 4))
    assert made.tokenizer.encode(torch.zeros(2, 1, 8, 8)).shape == (2, 26)
    with pytest.raises(ValueError, match="asks for other levels than the cache holds"):
        made.refuse_tokens(Tokenized("folder", "VQTokenizer", "0" * 64))


def test_who_cannot() -> None:
    with pytest.raises(ValueError, match=r"scales \[1, 2, 4\] of a residual .* for \[\[1, 1\], \[4, 4\]\]"):
        generator(NextScale(patch_nums=[1, 4]), residual=True)
    with pytest.raises(ValueError, match=r"backbone\.places: LevelPlaces knows the levels .* only, got"):
        Trained(generator(NextScale(), places=False)).sample(num_images=1, patch_nums=[1, 2, 3, 4])
    with pytest.raises(ValueError, match="later steps of NextScale see no condition slots"):
        generator(NextScale(markov=True))
    with pytest.raises(ValueError, match=r"backbone\.places: know one layout, but the ordering draws others"):
        generator(FLEX, places=False)
    with pytest.raises(ValueError, match=r"ordering\.schedule: draws other scales, but those of a residual pyramid"):
        generator(FLEX, residual=True)


@pytest.mark.parametrize(
    ("patch_nums", "message"),
    [
        ([0, 4], "patch_nums: every side must be at least 1, got 0"),
        ([4, 2, 1], r"patch_nums: levels must not shrink, but level 1 is \[2, 2\] after \[4, 4\]"),
        ([1, [2, 2, 2]], r"patch_nums: \[2, 2, 2\] is no grid of 2 axes"),
        ([1, 100_000], "patch_nums: tokens in all: must be at most 65536"),
    ],
    ids=str,
)
def test_levels_that_make_no_sense(patch_nums: list[int | list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trained(generator(FLEX)).sample(num_images=1, patch_nums=patch_nums)


def test_a_generator_on_other_levels_is_rebuilt_with_them(tmp_path: Path) -> None:
    made = generator(NextScale(patch_nums=[1, 3, 4], level_input=Previous())).eval()
    assert made.tokenizer.module.layout.shapes == ((1, 1), (2, 2), (4, 4))
    again = from_spec(made.spec(), Generator)
    assert again.layout == made.layout
    assert again.tokenizer.module.layout == made.tokenizer.module.layout


def test_codebooks_of_their_own_stay_on_their_levels() -> None:
    own = PyramidQuantizer(pyramid=ScalePyramid(patch_nums=[1, 4], residual=False), share_codebook=False)
    own.bind(4, (4, 4))
    with pytest.raises(ValueError, match="has a codebook of its own"):
        own.at(Layout(((1, 1), (2, 2), (4, 4))))


def test_previews_are_as_large_as_the_image() -> None:
    sizes = []
    Trained(generator(FLEX)).sample(
        num_images=1, patch_nums=[1, 2, 8], on_step=lambda partial: sizes.append(partial.preview().shape[-2:])
    )
    assert set(sizes) == {(16, 16)}


def test_canvases_are_the_canvas_of_each_level() -> None:
    made, residual = tokenizer(), tokenizer(residual=True)
    tokens = torch.randint(16, (2, 21))
    for each in (made, residual):
        for levels in ([1, 2], [2], [0, 3], [3, 1]):
            for level, canvas in zip(levels, each.canvases(tokens, levels), strict=True):
                assert torch.equal(canvas, each.canvas(tokens, level))


def test_a_tokenizer_elsewhere_shares_its_weights() -> None:
    made = tokenizer()
    elsewhere = made.at(Layout(((1, 1), (3, 3))))
    assert made.layout.shapes == ((1, 1), (2, 2), (4, 4))
    assert all(a is b for a, b in zip(made.parameters(), elsewhere.parameters(), strict=True))
    image = torch.rand(2, 1, 8, 8) * 2 - 1
    # The first level does not depend on the others.
    assert torch.equal(made.encode(image)[:, :1], elsewhere.encode(image)[:, :1])
    assert elsewhere.decode(elsewhere.encode(image)).shape == (2, 1, 6, 6)
