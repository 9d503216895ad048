"""The released weights of TiTok's MaskGIT."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from arlab.backbones.attention import Attention
from arlab.backbones.backbone import Backbone
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.long_skips import LongSkips
from arlab.backbones.norms import LayerNorm
from arlab.backbones.post_norm import PostNorm
from arlab.checkpoints.importing import Found, import_released, recognise
from arlab.checkpoints.maskgit import MaskGIT
from arlab.checkpoints.sizes import ratio_of
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.mask_ratios import ArccosRatio
from arlab.orderings.masked import Masked
from arlab.orderings.set_sizes import ArccosSizes
from arlab.orderings.step import Layout
from arlab.rng import SampleRng
from tests.checkpoints.given_tokens import GivenTokens
from tests.checkpoints.laws import SEEDS, dice, round_trip, shaken


def tiny(seed: int, *, bert: bool = False) -> tuple[MaskGIT, Generator]:
    rng = dice(seed)
    num_heads, rows = rng.choice([1, 2, 3]), rng.randint(1, 4)
    width, square = num_heads * rng.choice([4, 5]), rng.random() < 0.5
    num_steps, temperature, norm_eps = rng.randint(1, 9), rng.choice([0.0, 2.8]), rng.choice([0.0, 1e-6])
    grid = (rows, rows if square else rng.randint(1, 5))
    feed_forward = MLP(ratio=ratio_of(rng.randint(1, 70), width), activation=Activation.GELU)
    backbone: Backbone = LongSkips(
        width=width,
        num_skips=rng.randint(1, 3),
        attention=Attention(num_heads=num_heads, qkv_bias=rng.random() < 0.5, out_bias=True),
        feed_forward=feed_forward,
        norm=LayerNorm(eps=norm_eps or 1e-5),
    )
    if bert:
        backbone = PostNorm(
            width=width,
            num_layers=rng.randint(1, 3),
            attention=Attention(num_heads=num_heads, qkv_bias=True, out_bias=True),
            feed_forward=feed_forward,
            norm=LayerNorm(eps=norm_eps or 1e-12),
            dropout=0.1,
        )
    generator = Generator(
        tokenizer=GivenTokens(grid=grid, codebook_size=rng.randint(3, 20), num_classes=rng.randint(1, 9)),
        ordering=Masked(
            set_sizes=ArccosSizes(num_steps=num_steps),
            choice=ConfidenceChoice(temperature=temperature, by_logit=True, softened=True),
            mask_ratio=ArccosRatio(),
        ),
        backbone=backbone,
        head=DiscreteHead(bias=True, label_smoothing=0.1),
        ema_decay=0,
    )
    family = MaskGIT(
        num_heads=num_heads,
        rows=0 if square else rows,
        num_steps=num_steps,
        temperature=temperature,
        norm_eps=norm_eps,
    )
    return family, generator


@pytest.mark.parametrize("bert", [False, True], ids=["U-ViT", "BERT"])
@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, bert: bool, tmp_path: Path) -> None:
    round_trip(*tiny(seed, bert=bert), tmp_path)


def test_one_table_holds_codes_mask_and_classes() -> None:
    """The condition's place is published in front of the tokens'."""
    family, generator = tiny(0)
    shaken(generator, 3)
    ours = generator.state_dict()
    theirs = family.names(generator).published(ours)
    mask = theirs["embeddings.weight"][len(ours["head.embedding.weight"])]
    assert torch.equal(mask, ours["slot_embedding.learned_RD"][0])
    assert torch.equal(theirs["pos_embed"][0, 0], ours["backbone.places.0.table"][-1])
    assert torch.equal(theirs["pos_embed"][0, 1:], ours["backbone.places.0.table"][:-1])


def berts(seed: int) -> tuple[MaskGIT, Generator, dict[str, Tensor]]:
    """Tensors of a published BERT, of which every one has values of its own."""
    family, generator = tiny(seed, bert=True)
    shaken(generator, 3)
    tensors = family.names(generator).published(generator.state_dict())
    rng = torch.Generator().manual_seed(4)
    return family, generator, {name: 0.4 * torch.randn(each.shape, generator=rng) for name, each in tensors.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bert_is_what_its_published_tensors_say(seed: int) -> None:
    """Words, places and a type summed and normalised; the norm behind every sum; logits of the last block's output."""
    family, generator, tensors = berts(seed)
    made = import_released(Found(Path("bert"), family, tensors), generator.tokenizer.module).eval()
    assert isinstance(made, Generator)
    assert isinstance(made.head, DiscreteHead)
    number, codes = made.layout.num_tokens, len(tensors["model.lm_head.bias"])
    words = torch.cat((torch.tensor([codes + 1]), torch.full((number,), codes)))  # class 0, and masks alone

    def norm(x: Tensor, name: str) -> Tensor:
        eps = family.norm_eps or 1e-12
        return F.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    table = "model.embeddings."
    h = tensors[f"{table}word_embeddings.weight"][words] + tensors[f"{table}position_embeddings.weight"]
    h = norm(h + tensors[f"{table}token_type_embeddings.weight"][0], "model.embeddings.LayerNorm")
    layer = 0
    while (block := f"model.encoder.layer.{layer}") + ".output.dense.weight" in tensors:
        heads = (linear(h, f"{block}.attention.self.{each}") for each in ("query", "key", "value"))
        q, k, v = (each.unflatten(-1, (family.num_heads, -1)).transpose(0, 1) for each in heads)
        mixed = ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(0, 1).flatten(1)
        h = norm(h + linear(mixed, f"{block}.attention.output.dense"), f"{block}.attention.output.LayerNorm")
        inner = F.gelu(linear(h, f"{block}.intermediate.dense"))
        h = norm(h + linear(inner, f"{block}.output.dense"), f"{block}.output.LayerNorm")
        layer += 1
    expected = linear(h[1:], "model.lm_head")

    condition = made.conditioner(torch.tensor([0]))
    plan = made.ordering.steps(made.layout, condition.prefix, SampleRng([0]))
    step = next(plan)
    logits = made.head.logits(made.teacher_predict(step, torch.zeros(1, number, dtype=torch.long), condition)())
    torch.testing.assert_close(logits[0], expected[step.read.token[0]], atol=1e-4, rtol=1e-4)


def test_numbers_of_places_in_a_file_are_no_weights(tmp_path: Path) -> None:
    family, generator, tensors = berts(0)
    tensors["model.embeddings.position_ids"] = torch.arange(generator.layout.num_tokens + 1)[None]
    save_file(tensors, tmp_path / "bert.safetensors")
    found = recognise(tmp_path / "bert.safetensors", [family])
    assert isinstance(import_released(found, generator.tokenizer.module), Generator)


def test_a_sequence_of_tokens_is_one_row() -> None:
    """What is trained here with tokens without places takes a generator of as many."""
    family, generator, tensors = berts(0)
    number = generator.layout.num_tokens
    given = GivenTokens(grid=(number, 1), codebook_size=generator.tokenizer.space.codebook_size, num_classes=20)
    given.layout = Layout(((number,),))
    family.rows = 1
    made = import_released(Found(Path("bert"), family, tensors), given)
    assert isinstance(made, Generator)
    assert made.layout.finest == (number,)
    given.layout = Layout(((number + 1,),))
    with pytest.raises(ValueError, match=rf"has a grid of \(1, {number}\), the tokenizer's is \({number + 1},\)"):
        import_released(Found(Path("bert"), family, tensors), given)


@pytest.mark.parametrize("bert", [False, True], ids=["U-ViT", "BERT"])
def test_heads_that_do_not_divide_the_width_are_told(bert: bool) -> None:
    family, generator = tiny(0, bert=bert)
    tensors = family.names(generator).published(generator.state_dict())
    width = generator.backbone.width
    wrong = MaskGIT(num_heads=width + 1, rows=family.rows)
    with pytest.raises(ValueError, match=f"^bert: num_heads: {width + 1} heads do not divide its width {width}$"):
        import_released(Found(Path("bert"), wrong, tensors), generator.tokenizer.module)


def test_the_preset_of_another_size_is_told() -> None:
    family, generator, tensors = berts(0)
    number = generator.layout.num_tokens
    wrong = MaskGIT(num_heads=family.num_heads, rows=family.rows, num_tokens=number + 1)
    with pytest.raises(
        ValueError, match=rf"^bert: num_tokens: it has {number} tokens, not {number + 1}; is the preset"
    ):
        import_released(Found(Path("bert"), wrong, tensors), generator.tokenizer.module)


def test_a_tokenizer_of_other_codes_is_told() -> None:
    family, generator, tensors = berts(0)
    codes = len(tensors["model.lm_head.bias"])
    given = GivenTokens(grid=generator.tokenizer.layout.finest, codebook_size=codes + 1, num_classes=20)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^bert: has {codes} codes, its tokenizer {codes + 1}; name its own"):
        import_released(Found(Path("bert"), family, tensors), given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, "num_heads: must be at least 1, got 0"),
        ({"num_tokens": -1}, "num_tokens: must be at least 0, got -1"),
        ({"num_steps": 0}, "num_steps: must be from 1 to 65536, got 0"),
        ({"temperature": float("nan")}, "temperature: must be at least 0, got nan"),
        ({"norm_eps": -1.0}, "norm_eps: must be at least 0, got -1.0"),
    ],
)
def test_settings_out_of_range_are_told_by_their_own_names(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        MaskGIT(**options)  # type: ignore[arg-type]
