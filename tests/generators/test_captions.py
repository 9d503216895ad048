from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.backbone import Backbone
from arlab.backbones.modulation import AdaLN
from arlab.backbones.transformer import Transformer
from arlab.configurable import from_spec
from arlab.data.facts import DataFacts
from arlab.generators.captions import Captions
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.ordering import Ordering
from arlab.orderings.raster import Raster
from arlab.rng import BatchRng
from tests.captions import random_prompts, write_prompts
from tests.tiny import GrayLevels, tiny_backbone

PROMPTS = ("a red cat", "two dogs, in snow", "nothing")
FACTS = DataFacts("tiny", 1, (2, 3), PROMPTS)
LABELS = torch.tensor([0, 1, 2, 2, 0])


def modulated() -> Backbone:
    return Transformer(width=16, num_layers=1, attention=Attention(num_heads=2), modulation=AdaLN(), init_std=0.3)


def generator(conditioner: Captions, ordering: Ordering | None = None, backbone: Backbone | None = None) -> Generator:
    torch.manual_seed(0)
    made = Generator(
        tokenizer=GrayLevels(),
        ordering=Raster() if ordering is None else ordering,
        backbone=tiny_backbone() if backbone is None else backbone,
        head=DiscreteHead(zero_init=False, init_std=0.5),
        conditioner=conditioner,
        facts=FACTS,
    )
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made.eval()


def drawn(model: Generator, *, use_cache: bool = True, guidance_scale: float = 2.0) -> Tensor:
    sampler = Sampler(use_cache=use_cache, guidance=ConstantGuidance(guidance_scale=guidance_scale))
    return sampler.sample(model, LABELS.repeat(4), seeds=range(4 * len(LABELS))).tokens


def likelihood(model: Generator) -> Tensor:
    found = model.log_prob(torch.arange(6).expand(len(LABELS), 6) % 3, LABELS)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "ordering", [Raster(), NextNeighbor(causal_condition=True)], ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize("backbone", [tiny_backbone, modulated])
def test_what_padding_holds_does_not_matter(
    ordering: Ordering, backbone: Callable[[], Backbone], tmp_path: Path
) -> None:
    file = random_prompts(tmp_path / "prompts.safetensors", PROMPTS, seed=3)
    model = generator(Captions(file=file), ordering, backbone())
    conditioner = model.conditioner
    assert isinstance(conditioner, Captions)
    assert not conditioner.valid.all()
    before, tokens = likelihood(model), drawn(model)
    assert torch.equal(drawn(model, use_cache=False), tokens)
    with torch.no_grad():
        conditioner.embedding += 5 * ~conditioner.valid[..., None]
    torch.testing.assert_close(likelihood(model), before)
    assert torch.equal(drawn(model), tokens)
    # What is no padding does.
    with torch.no_grad():
        conditioner.embedding += 5 * conditioner.valid[..., None]
    assert (likelihood(model) - before).abs().min() > 1e-6


def test_a_file_may_hold_anything_where_it_is_padded(tmp_path: Path) -> None:
    valid = torch.tensor([[False, True], [True, False], [True, True]])
    whole = torch.randn(3, 2, 4).half()
    noisy = whole.masked_fill(~valid[..., None], torch.nan)
    zero = whole.masked_fill(~valid[..., None], 0)
    one, other = (
        Captions(file=write_prompts(tmp_path / "prompts.safetensors", PROMPTS, each, marks))
        for each, marks in ((noisy, valid), (zero, valid.to(torch.uint8)))
    )
    assert torch.equal(one.embedding, other.embedding)
    assert torch.equal(one.valid, other.valid)
    assert one.embedding.dtype == torch.float32


def test_no_class_keeps_the_padding_and_loses_the_words(tmp_path: Path) -> None:
    conditioner = Captions(file=random_prompts(tmp_path / "prompts.safetensors", PROMPTS, seed=3))
    conditioner.bind(16, FACTS)
    null = conditioner.null(LABELS)
    assert null.tolist() == [3, 4, 5, 5, 3]
    assert torch.equal(conditioner.null(null), null)
    said, silent = conditioner(LABELS), conditioner(null)
    assert torch.equal(said.valid, silent.valid)
    assert not torch.equal(said.valid[0], said.valid[1])
    # The same words for all.
    assert torch.equal(silent.slots, silent.slots[:1].expand_as(silent.slots))
    assert not torch.allclose(said.slots[0], said.slots[1])
    # The vector is the mean of what is no padding.
    mean = torch.stack([slots[valid].mean(0) for slots, valid in zip(said.slots, said.valid, strict=True)])
    torch.testing.assert_close(said.vector, mean)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_dropping_is_as_often_as_asked(probability: float, tmp_path: Path) -> None:
    file = random_prompts(tmp_path / "prompts.safetensors", PROMPTS)
    conditioner = Captions(file=file, drop_probability=probability)
    conditioner.bind(16, FACTS)
    label = torch.arange(3000) % 3
    dropped = conditioner.drop(label, BatchRng(0, len(label)))
    assert torch.equal(dropped % 3, label)
    assert float((dropped >= 3).float().mean()) == pytest.approx(probability, abs=0.03)
    assert conditioner.guidable is (probability > 0)


def test_all_weights_are_trained_and_embeddings_are_not(tmp_path: Path) -> None:
    conditioner = Captions(file=random_prompts(tmp_path / "prompts.safetensors", PROMPTS))
    model = generator(conditioner).train()
    tokens = torch.randint(3, (5, 6))
    model.objective.loss(model, tokens, LABELS, BatchRng(0, 5), model.layout).backward()
    assert [name for name, weight in conditioner.named_parameters()] == ["project.0.weight", "project.2.weight"]
    assert all(weight.grad is not None and weight.grad.any() for weight in conditioner.parameters())


def test_a_checkpoint_does_not_need_the_file(tmp_path: Path) -> None:
    file = random_prompts(tmp_path / "prompts.safetensors", PROMPTS)
    model = generator(Captions(file=file, drop_probability=0.2))
    Path(file).unlink()
    spec: dict[str, Any] = json.loads(json.dumps(model.spec()))
    assert file not in json.dumps(spec)
    again = from_spec(spec, Generator).eval()
    assert again.spec() == model.spec()
    with pytest.raises(ValueError, match="must name a file, since no weights brought the embeddings"):
        drawn(again)
    again.load_state_dict(model.state_dict())
    assert torch.equal(drawn(again), drawn(model))
    assert torch.equal(likelihood(again), likelihood(model))


def test_classes_are_called_as_the_prompts(tmp_path: Path) -> None:
    conditioner = Captions(file=random_prompts(tmp_path / "prompts.safetensors", PROMPTS))
    with pytest.raises(ValueError, match=r"^conditioner.file: holds 3 prompts, the data has 2 classes$"):
        conditioner.bind(16, DataFacts("tiny", 1, (2, 3), ("a", "b")))
    told = r"class 1 is 'nothing', prompt 1 is 'two dogs, in snow'$"
    with pytest.raises(ValueError, match=f"^conditioner.file: its prompts must be the names .* in their order; {told}"):
        conditioner.bind(16, DataFacts("tiny", 1, (2, 3), (PROMPTS[0], PROMPTS[2], PROMPTS[1])))


def changed(path: Path, prompts: object = PROMPTS, **tensors: Tensor | None) -> None:
    """The file, with other prompts, and these tensors in place of its own, or none."""
    held = {name: value for name, value in (load_file(path) | tensors).items() if value is not None}
    save_file(held, path, metadata={"prompts": json.dumps(prompts)})


BROKEN: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("no file", lambda path: path.unlink(), "no such file"),
    ("a text", lambda path: path.write_text("caption"), "not a readable safetensors file"),
    ("half", lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a readable safetensors file"),
    ("no prompts", lambda path: save_file(load_file(path), path), "its metadata must have the prompts, a JSON list"),
    ("no JSON", lambda path: save_file(load_file(path), path, metadata={"prompts": "["}), "its metadata must have"),
    ("numbers", lambda path: changed(path, [1, 2, 3]), "its metadata must have the prompts, a JSON list of texts"),
    ("an empty prompt", lambda path: changed(path, ["a", "", "b"]), "its metadata must have"),
    ("twice", lambda path: changed(path, ["a", "b", "a"]), "holds the prompt 'a' twice"),
    (
        "a prompt too few",
        lambda path: changed(path, ["a", "b"]),
        "embedding must be floating-point numbers of shape (2",
    ),
    ("no embedding", lambda path: changed(path, embedding=None), "has no tensor embedding"),
    ("no valid", lambda path: changed(path, valid=None), "has no tensor valid"),
    ("two axes", lambda path: changed(path, embedding=torch.ones(3, 5)), "embedding must be floating-point numbers"),
    ("none", lambda path: changed(path, embedding=torch.ones(3, 0, 4)), "embedding must be floating-point numbers"),
    (
        "integers",
        lambda path: changed(path, embedding=torch.ones(3, 5, 7, dtype=torch.int64)),
        "embedding must be floating-point numbers of shape (3 prompts, tokens, numbers), got int64 (3, 5, 7)",
    ),
    (
        "infinite",
        lambda path: changed(path, embedding=torch.full((3, 5, 7), torch.inf)),
        "embedding holds numbers that are not finite",
    ),
    ("too many", lambda path: changed(path, embedding=torch.ones(3, 5000, 1)), "embedding has more than 4096 tokens"),
    ("floats", lambda path: changed(path, valid=torch.ones(3, 5)), "valid must be bool or uint8 of shape (3, 5), got"),
    ("other places", lambda path: changed(path, valid=torch.ones(3, 4, dtype=torch.bool)), "valid must be bool or"),
    (
        "nothing but padding",
        lambda path: changed(path, valid=torch.eye(3, 5).bool() & torch.tensor([[True], [False], [True]])),
        "valid: nothing but padding of prompt 1, 'two dogs, in snow'",
    ),
)


@pytest.mark.parametrize(("harm", "told"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_file_that_is_not_what_it_should_be(harm: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.safetensors"
    random_prompts(path, PROMPTS)
    harm(path)
    with pytest.raises(ValueError, match=f"^{re.escape(f'conditioner.file: {path}: {told}')}[^\n]*$"):
        Captions(file=str(path))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "conditioner.file: must name a file of prompts and their embeddings, got ''"),
        ({"prompts": ["a"]}, "conditioner.file: must name a file"),
        ({"shape": [3, 4]}, "conditioner.file: must name a file"),
        ({"prompts": ["a"], "shape": [3]}, "conditioner.shape: expected two numbers, got [3]"),
        ({"prompts": ["a"], "shape": [0, 4]}, "conditioner.shape[0]: must be from 1 to 4096, got 0"),
        ({"prompts": ["a"], "shape": [3, 10**12]}, "conditioner.shape[1]: must be from 1 to 16384, got"),
        ({"prompts": ["a"] * 20, "shape": [4096, 16384]}, "conditioner.shape: 20 prompts of [4096, 16384] are more"),
        ({"drop_probability": float("nan")}, "conditioner.drop_probability: must be from 0 to 1, got nan"),
        ({"init_std": -1.0}, "conditioner.init_std: must be at least 0, got -1.0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        Captions(**{"file": "", **options})
