"""Tokens from a cache are those the images would give: same order, views and losses; a wrong cache is refused.

Images are not square. Letters: B batch, N tokens, C width of a token vector.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.callbacks.finite import FiniteLoss
from arlab.configurable import from_spec
from arlab.data.arrays import ImageArrays
from arlab.data.cached import CachedTokens
from arlab.data.data import Batch
from arlab.data.facts import DataFacts
from arlab.data.folder import ImageFolder
from arlab.data.loaders import LoadedData, Split
from arlab.data.token_manifest import MANIFEST, read_manifest
from arlab.data.token_shards import ShardReader, ShardWriter, index_dtype, narrowed
from arlab.data.transforms import CenterCrop, RandomCrop, RandomFlip, Transform
from arlab.generators.generator import Generator
from arlab.generators.objective import Objective
from arlab.heads.discrete import DiscreteHead
from arlab.heads.head import Head, Predict, Sampling
from arlab.optimization import AdamW
from arlab.orderings.ordering import Drawn
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Step
from arlab.rng import Noise, Rng
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.caching import Caching
from arlab.tokenizers.identity import identity, identity_of_data
from arlab.tokenizers.pixel import PixelTokenizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.tokenizer import Encoded, Tokenizer, required_facts
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokens import TokenSpace
from tests.tiny import tiny_backbone

SIZE = (6, 4)
IMAGES = 54


class Blurred(Tokenizer):
    """Means of 2 x 2 pixels, uncertain by a tenth and more; nothing in it depends on the rest of a batch."""

    def __init__(self, *, facts: DataFacts | None = None) -> None:
        super().__init__()
        self.facts = required_facts(facts)
        height, width = self.facts.image_size
        self.layout = Layout(((height // 2, width // 2),))
        self.space = TokenSpace(self.facts.channels)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def encode(self, image_BCHW: Tensor) -> Tensor:
        return self.encoded(image_BCHW).tokens

    def encoded(self, image_BCHW: Tensor) -> Encoded:
        tokens = (F.avg_pool2d(image_BCHW, 2) * self.scale).flatten(2).transpose(1, 2)
        return Encoded(tokens, 0.1 + tokens.abs())

    def decode(self, tokens: Tensor) -> Tensor:
        z = (tokens / self.scale).transpose(1, 2).unflatten(-1, self.layout.finest)
        return F.interpolate(z, self.facts.image_size)

    def vectors(self, tokens: Tensor) -> Tensor:
        return tokens


class Squares(Head):
    """The squared distance to the token."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        self.embedding = nn.Linear(space.width, width)
        self.outputs = nn.ModuleList(nn.Linear(width, space.width) for _ in range(ways))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens)

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        self.seen.append(target)
        return (predict().conditional.mix(self.outputs) - target).square().mean(-1)

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        raise NotImplementedError


class Infinite(Objective):
    def loss(self, generator: Generator, tokens: Tensor, label: Tensor, rng: Rng, layout: Layout) -> Tensor:
        return next(generator.parameters()).sum() + float("inf")


class Losses(L.Callback):
    def __init__(self) -> None:
        self.train: list[str] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.train.append(float(outputs["loss"]).hex())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "images.npz", x=rng.integers(0, 256, (IMAGES, 7, 5, 3), dtype=np.uint8), y=np.arange(IMAGES) % 3
    )
    return tmp_path / "images.npz"


def source(file: Path, *transforms: Transform, **options: Any) -> ImageArrays:
    chain = [CenterCrop(), *transforms]
    return ImageArrays(file=str(file), image_size=SIZE, transforms=chain, **{"batch_size": 8, **options})


def vq(facts: DataFacts, codebook_size: int = 16) -> VQTokenizer:
    torch.manual_seed(1)
    return VQTokenizer(
        facts=facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=(1, 1), res_blocks=1),
        quantizer=VectorQuantizer(codebook_size=codebook_size),
        token_width=4,
    ).eval()


def generator(tokenizer: Tokenizer, head: Head | None = None, seed: int = 0) -> Generator:
    torch.manual_seed(0)
    return Generator(
        tokenizer=tokenizer,
        ordering=Raster(),
        backbone=tiny_backbone(),
        head=DiscreteHead(zero_init=False, init_std=0.5) if head is None else head,
        optimizer=AdamW(learning_rate=1e-2, warmup_steps=0),
        ema_decay=0.9,
        seed=seed,
    )


def cache(tokenizer: Tokenizer, data: LoadedData, out: Path, **options: Any) -> Path:
    Caching(tokenizer, data, "runs/x", **options).write(out, lambda part, done, total: None)
    return out


def trained(model: Generator, data: LoadedData, folder: Path, epochs: int = 2) -> tuple[list[str], dict[str, float]]:
    """The losses of all steps bit by bit, and the validation's figures."""
    losses = Losses()
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[losses],
        **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    )
    trainer.fit(model, datamodule=data)
    figures = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
    return losses.train, figures


def epoch_of(data: LoadedData, epoch: int) -> list[Batch]:
    data.epoch = epoch
    return list(data.train_dataloader())


# ---- the format


@pytest.mark.parametrize(
    ("codebook_size", "dtype"),
    [
        (2, "uint8"),
        (256, "uint8"),
        (257, "int16"),
        (32768, "int16"),
        (32769, "int32"),
        (2**31, "int32"),
        (2**40, "int64"),
    ],
)
def test_indices_are_stored_as_the_smallest_integers(codebook_size: int, dtype: str) -> None:
    kind = index_dtype(codebook_size)
    assert str(kind) == f"torch.{dtype}"
    ends = torch.tensor([[0, codebook_size - 1]])
    assert torch.equal(narrowed(ends, kind, "tokens").long(), ends)


def test_what_would_not_survive_is_refused() -> None:
    with pytest.raises(ValueError, match="tokens: indices up to 256 lie beyond the tokenizer's codebook"):
        narrowed(torch.tensor([3, 256]), torch.uint8, "tokens")
    with pytest.raises(ValueError, match=r"tokens: values that are not finite \(too large for torch.float16\)"):
        narrowed(torch.tensor([1e5]), torch.float16, "tokens")
    with pytest.raises(ValueError, match=r"deviation: values that are not finite \(the tokenizer gives such\)"):
        narrowed(torch.tensor([float("nan")]), torch.float32, "deviation")


@pytest.mark.parametrize("pieces", [[7, 7, 7, 2], [23], [1] * 23])
def test_rows_come_back_from_any_shard(pieces: list[int], tmp_path: Path) -> None:
    tokens = torch.randint(0, 1000, (23, 6)).to(torch.int16)
    label = torch.arange(23)
    writer = ShardWriter(tmp_path, "train", most=5 * (6 * 2 + 8))
    for piece in zip(tokens.split(pieces), label.split(pieces), strict=True):
        writer.add({"tokens": piece[0], "label": piece[1]})
    shards = writer.close()
    assert [shard.rows for shard in shards] == [5, 5, 5, 5, 3]
    assert [shard.file for shard in shards] == [f"train-{n:05d}.safetensors" for n in range(5)]
    rows = ShardReader(tmp_path, shards).rows(torch.tensor([22, 0, 4, 5, 19, 0]))
    assert rows["label"].tolist() == [22, 0, 4, 5, 19, 0]
    assert torch.equal(rows["tokens"], tokens[rows["label"]])


# ---- the same batches


def test_batches_are_those_of_the_images(images: Path, tmp_path: Path) -> None:
    data = source(images, seed=3)
    tokenizer = vq(data.facts)
    folder = cache(tokenizer, data, tmp_path / "cache")
    cached = CachedTokens(folder=str(folder), batch_size=8, seed=3)
    assert cached.facts == data.facts
    assert cached.still() is None
    manifest = read_manifest(folder)
    assert (manifest.shape, manifest.codebook_size, manifest.dtype) == ((6,), 16, "uint8")
    for mine, theirs in (
        (epoch_of(cached, 1), epoch_of(data, 1)),
        (list(cached.val_dataloader()), list(data.val_dataloader())),
        (list(cached.test_dataloader()), list(data.test_dataloader())),
    ):
        assert len(mine) == len(theirs) > 0
        for one, other in zip(mine, theirs, strict=True):
            assert one.tokens is not None
            assert one.tokens.dtype == torch.int64
            assert torch.equal(one.tokens, tokenizer.encode(other.image))
            assert torch.equal(one.label, other.label)
            assert torch.equal(one.row, other.row)
            assert one.image.shape == (len(one.label), 0)
            assert one.deviation is None


def test_epoch_e_has_view_e_mod_k(images: Path, tmp_path: Path) -> None:
    data = source(images, RandomFlip())
    tokenizer = PixelTokenizer(facts=data.facts)
    cached = CachedTokens(folder=str(cache(tokenizer, data, tmp_path / "cache", views=3)), batch_size=8)
    assert read_manifest(tmp_path / "cache").parts["train"].images == len(data.part(Split.TRAIN))
    plain = source(images)
    for epoch in range(7):
        view = epoch % 3
        # The order is the epoch's own; the pixels are the view's.
        order = order_of(data, epoch)
        for rows, batch in zip(order, epoch_of(cached, epoch), strict=True):
            pixels = (plain if view == 0 else data).part(Split.TRAIN).batch(rows, known=False, epoch=view)
            assert batch.tokens is not None
            assert torch.equal(batch.tokens, tokenizer.encode(pixels.image))
            assert batch.row.tolist() == [-1] * 8
    for epoch in (1, 2):
        for mine, theirs in zip(epoch_of(cached, epoch), epoch_of(data, epoch), strict=True):
            assert mine.tokens is not None
            assert torch.equal(mine.tokens, tokenizer.encode(theirs.image))


def order_of(data: ImageArrays, epoch: int) -> list[Tensor]:
    """The rows of each batch of an epoch."""
    return [batch.row for batch in epoch_of(ImageArrays(file=str(data.file), batch_size=8), epoch)]


def test_views_of_images_that_never_change_are_refused(images: Path, tmp_path: Path) -> None:
    data = source(images)
    with pytest.raises(ValueError, match="views: 2, but ImageArrays's images are the same in every epoch"):
        cache(vq(data.facts), data, tmp_path / "cache", views=2)
    assert list(tmp_path.iterdir()) == [images]


def test_two_workers_write_and_read_the_same(images: Path, tmp_path: Path) -> None:
    tokenizer = PixelTokenizer(facts=source(images).facts)
    one = cache(tokenizer, source(images, RandomFlip()), tmp_path / "one", views=2)
    two = cache(tokenizer, source(images, RandomFlip(), num_workers=2, batch_size=5), tmp_path / "two", views=2)
    assert read_manifest(one).content == read_manifest(two).content
    mine, theirs = (
        [batch.tokens for batch in CachedTokens(folder=str(one), batch_size=8, num_workers=n).train_dataloader()]
        for n in (0, 2)
    )
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


# ---- the same training


def test_discrete_losses_are_equal_bit_by_bit(images: Path, tmp_path: Path) -> None:
    """Images that never change (tokenised once a run), the same encoded in every step, and from a cache."""
    tokenizer = vq(source(images).facts)
    folder = cache(tokenizer, source(images), tmp_path / "cache")
    runs = [
        trained(generator(tokenizer), data, tmp_path)
        for data in (
            source(images),
            source(images, RandomFlip(probability=0.0)),
            CachedTokens(folder=str(folder), batch_size=8),
        )
    ]
    assert len(set(runs[0][0])) == len(runs[0][0]) > 8
    assert runs[0] == runs[1] == runs[2]


def test_uncertain_tokens_are_drawn_anew_in_every_step_the_same_wherever_they_come_from(
    images: Path, tmp_path: Path
) -> None:
    tokenizer = Blurred(facts=source(images).facts)
    folder = cache(tokenizer, source(images), tmp_path / "cache")
    three = (
        source(images),
        source(images, RandomFlip(probability=0.0)),
        CachedTokens(folder=str(folder), batch_size=8),
    )
    runs = [trained(generator(tokenizer, Squares()), data, tmp_path) for data in three]
    assert runs[0] == runs[1] == runs[2]
    assert trained(generator(tokenizer, Squares(), seed=1), three[2], tmp_path)[0][0] != runs[0][0][0]


def test_samples_have_the_mean_and_deviation_they_were_stored_with(images: Path, tmp_path: Path) -> None:
    data = source(images)
    tokenizer = Blurred(facts=data.facts)
    cached = CachedTokens(folder=str(cache(tokenizer, data, tmp_path / "cache")), batch_size=8)
    head = Squares()
    model = generator(tokenizer, head)
    batch = epoch_of(cached, 0)[0]
    assert batch.tokens is not None
    assert batch.deviation is not None
    encoded = tokenizer.encoded(epoch_of(data, 0)[0].image)
    assert torch.equal(batch.tokens, encoded.tokens)
    assert torch.equal(batch.deviation, encoded.deviation)
    drawn = torch.stack([model._drawn(encoded, number) for number in range(2000)])
    standard = (drawn - encoded.tokens) / encoded.deviation
    assert torch.allclose(standard.mean(0), torch.zeros(()), atol=0.12)
    assert torch.allclose(standard.std(0), torch.ones(()), atol=0.1)
    # Evaluation is on the means.
    head.seen.clear()
    model.log = model.log_dict = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    model.validation_step(batch, 0)
    assert torch.equal(head.seen[0], encoded.tokens)


def test_half_precision_vectors_are_rounded_once(images: Path, tmp_path: Path) -> None:
    data = source(images)
    tokenizer = Blurred(facts=data.facts)
    folder = cache(tokenizer, data, tmp_path / "cache", dtype=torch.float16)
    assert read_manifest(folder).dtype == "float16"
    batch = next(iter(CachedTokens(folder=str(folder), batch_size=8).val_dataloader()))
    encoded = tokenizer.encoded(next(iter(data.val_dataloader())).image)
    assert batch.tokens is not None
    assert batch.tokens.dtype == torch.float32
    assert torch.equal(batch.tokens, encoded.tokens.half().float())
    with pytest.raises(ValueError, match="dtype: PixelTokenizer gives indices"):
        Caching(PixelTokenizer(facts=data.facts), data, "x", dtype=torch.float16)


def test_a_batch_of_tokens_whose_loss_is_not_finite_is_kept(images: Path, tmp_path: Path) -> None:
    data = source(images)
    tokenizer = Blurred(facts=data.facts)
    cached = CachedTokens(folder=str(cache(tokenizer, data, tmp_path / "cache")), batch_size=8)
    model = generator(tokenizer, Squares())
    model.objective = Infinite()
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=1,
        callbacks=[FiniteLoss()],
        **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    )
    with pytest.raises(ValueError, match="train/loss is inf at step 0"):
        trainer.fit(model, datamodule=cached)
    held = load_file(tmp_path / "nonfinite/step-000000.safetensors")
    assert set(held) == {"image", "label", "row", "tokens", "deviation"}
    assert held["tokens"].shape == (8, 6, 3)


# ---- what is refused


def test_a_cache_of_another_tokenizer_is_stale(images: Path, tmp_path: Path) -> None:
    data = source(images)
    tokenizer, other = Blurred(facts=data.facts), Blurred(facts=data.facts)
    other.scale.data += 1e-3
    cached = CachedTokens(folder=str(cache(tokenizer, data, tmp_path / "cache")), batch_size=8)
    message = (
        f"data.folder: {tmp_path}/cache is stale: its tokens were made by Blurred {identity(tokenizer)[:8]} (runs/x), "
        f"this generator's tokenizer is Blurred {identity(other)[:8]}"
    )
    model = generator(other, Squares())
    with pytest.raises(ValueError, match=re.escape(message)):
        trained(model, cached, tmp_path)
    with pytest.raises(ValueError, match="holds tokens, a VQTokenizer is trained on images"):
        vq(data.facts).refuse_data(cached)
    generator(tokenizer, Squares()).refuse_data(cached)


def test_a_cache_of_other_images_is_refused(images: Path, tmp_path: Path) -> None:
    data = source(images)
    cached = CachedTokens(folder=str(cache(Blurred(facts=data.facts), data, tmp_path / "cache")))
    wide = ImageArrays(file=str(images), image_size=(4, 6))
    with pytest.raises(ValueError, match=r"differ in image_size: \(4, 6\) against \(6, 4\)"):
        generator(Blurred(facts=wide.facts), Squares()).refuse_data(cached)
    with pytest.raises(ValueError, match=r"data: the tokenizer and the images differ in image_size"):
        Caching(Blurred(facts=wide.facts), data, "x")
    with pytest.raises(ValueError, match="data: CachedTokens carries tokens already"):
        Caching(Blurred(facts=data.facts), cached, "x")


def test_what_counts_as_the_same_tokenizer(images: Path) -> None:
    facts = source(images).facts
    tokenizer = vq(facts)
    assert identity(tokenizer) == identity(vq(facts))
    assert identity(tokenizer) != identity(vq(facts, codebook_size=8))
    again = from_spec(tokenizer.spec(), VQTokenizer)
    assert identity(again) != identity(tokenizer)
    again.load_state_dict(tokenizer.state_dict())
    assert identity(again) == identity(tokenizer)
    # Nothing is learned by this one: its settings are all there is.
    spoken = vq(facts)
    options = spoken.quantizer._built_with
    assert isinstance(options, dict)
    for key in ("similarity", "passage"):  # as if arlab had not known them when the cache was made
        del options[key]
    assert identity(spoken) == identity(tokenizer)
    assert identity(PixelTokenizer(facts=facts)) != identity(PixelTokenizer(facts=facts, num_levels=128))


def test_what_counts_as_the_same_images(images: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.npz"
    moved.write_bytes(images.read_bytes())
    same = identity_of_data(source(images))
    assert identity_of_data(source(moved, batch_size=3, num_workers=1)) == same
    assert identity_of_data(source(images, RandomFlip())) != same
    assert identity_of_data(source(images, validation_fraction=0.2)) != same
    np.savez(moved, x=np.zeros((IMAGES, 7, 5, 3), dtype=np.uint8), y=np.arange(IMAGES) % 3)
    assert identity_of_data(source(moved)) != same


def test_a_file_edited_in_place_is_noticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        Image.fromarray(rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)).save(tmp_path / f"{number:02d}.bmp")

    def data() -> ImageFolder:
        return ImageFolder(root=str(tmp_path), image_size=(6, 4))

    out, tokenizer, content = tmp_path / ".cache", vq(data().facts), data().content()
    cache(tokenizer, data(), out)
    assert Caching(tokenizer, data(), "runs/x").found(out) is not None
    image = tmp_path / "07.bmp"
    image.write_bytes(image.read_bytes()[:-5] + b"abcde")
    assert data().content() == content, "a run's key counts names and sizes"
    with pytest.raises(
        ValueError, match=r"holds a cache of ImageFolder \w{8}, whose files have been edited since; name"
    ):
        Caching(tokenizer, data(), "runs/x").found(out)
    # Caches made before samples were taken have none.
    held = json.loads((out / MANIFEST).read_text())
    del held["data"]["sample"]
    (out / MANIFEST).write_text(json.dumps(held))
    assert Caching(tokenizer, data(), "runs/x").found(out) is not None


def _cut(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-1])
    return "were written; make the cache again"


def _flip(path: Path) -> str:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    return "is damaged (its SHA-256 is not what was written); make the cache again"


def _drop(path: Path) -> str:
    path.unlink()
    return "is missing; make the cache again"


@pytest.mark.parametrize("harm", [_cut, _flip, _drop])
@pytest.mark.parametrize("name", ["train-00000.safetensors", "validation-00000.safetensors"])
def test_a_damaged_shard_is_named(harm: Any, name: str, images: Path, tmp_path: Path) -> None:
    data = source(images)
    folder = cache(Blurred(facts=data.facts), data, tmp_path / "cache")
    cached = CachedTokens(folder=str(folder))
    said = harm(folder / name)
    with pytest.raises(ValueError, match=f"^{re.escape(str(folder / name))}: .*{re.escape(said)}") as error:
        cached.part(Split.TRAIN if name.startswith("train") else Split.VALIDATION)
    assert "\n" not in str(error.value)


def test_a_damaged_or_newer_manifest_is_named(images: Path, tmp_path: Path) -> None:
    data = source(images)
    manifest = cache(Blurred(facts=data.facts), data, tmp_path / "cache") / MANIFEST
    text = manifest.read_text()
    held = json.loads(text)
    for key in held:
        manifest.write_text(json.dumps({name: value for name, value in held.items() if name != key}))
        with pytest.raises(ValueError, match="damaged"):
            _ = CachedTokens(folder=str(manifest.parent)).facts
    for broken in ("", "[]", "{}", text[:-9], json.dumps({**held, "parts": {}}), json.dumps({**held, "facts": 3})):
        manifest.write_text(broken)
        with pytest.raises(ValueError, match=f"^{re.escape(str(manifest))}: damaged; make the cache again"):
            _ = CachedTokens(folder=str(manifest.parent)).facts
    manifest.write_text(json.dumps({**held, "format": 2}))
    with pytest.raises(ValueError, match="written in format 2 by arlab"):
        _ = CachedTokens(folder=str(manifest.parent)).facts
    with pytest.raises(ValueError, match=r"nowhere: no such folder \(arlab cache RUN --out"):
        _ = CachedTokens(folder=str(tmp_path / "nowhere")).facts
    with pytest.raises(ValueError, match="is no cache of tokens"):
        _ = CachedTokens(folder=str(tmp_path)).facts


@pytest.mark.parametrize("views", [0, -1, 1001])
def test_views_out_of_range_are_refused(views: int, images: Path) -> None:
    data = source(images)
    with pytest.raises(ValueError, match=f"views: must be from 1 to 1000, got {views}"):
        Caching(vq(data.facts), data, "x", views=views)


def test_random_crops_have_views_too(images: Path, tmp_path: Path) -> None:
    data = ImageArrays(file=str(images), image_size=SIZE, transforms=[RandomCrop()], batch_size=8)
    tokenizer = PixelTokenizer(facts=data.facts)
    cached = CachedTokens(folder=str(cache(tokenizer, data, tmp_path / "cache", views=2)), batch_size=8)
    first, second, third = (epoch_of(cached, epoch)[0].tokens for epoch in (1, 3, 2))
    assert first is not None
    assert second is not None
    assert third is not None
    assert torch.equal(first, tokenizer.encode(epoch_of(data, 1)[0].image))
    assert not torch.equal(second, tokenizer.encode(epoch_of(data, 3)[0].image))
