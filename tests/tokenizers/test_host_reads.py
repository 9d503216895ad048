"""A training step asks an accelerator for no number: to know one is to wait for all the work before it.

Counted are the operations of whole steps, on the CPU, that would make another device answer or take a list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from arlab.data.data import Batch
from arlab.data.facts import DataFacts
from arlab.discovery import discover
from arlab.pyramids.depth import DepthPyramid
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.autoencoder import Autoencoder, ConvAutoencoder
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.nested_dropout import NestedDropout, PowersOfTwo
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.phi import PhiConvolutions
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.vit import ViTAutoencoder
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.tokenizers.codebooks import EVERY, WIDTH

FACTS = DataFacts("made up", 3, (8, 8))
PYRAMIDS: tuple[Pyramid, ...] = (ScalePyramid(), FrequencyPyramid(), DepthPyramid(depth=2))
ASKING = {
    *("_local_scalar_dense", "item", "is_nonzero", "equal", "allclose"),  # a number
    *("bincount", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"),  # a shape
    "lift_fresh",  # a list made a tensor
}

INDEXING = {"index", "index_put", "index_put_"}
"""With a mask: the number of its places."""


class Asked(TorchDispatchMode):
    """Counts the operations that ask."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = Counter[str]()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        masked = name in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
        if masked or name in ASKING:
            self.counted[name] += 1
        return func(*args, **(kwargs or {}))


def tokenizer(quantizer: Quantizer, autoencoder: Autoencoder | None = None) -> LearnedTokenizer:
    small = ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4)
    return VQTokenizer(facts=FACTS, autoencoder=autoencoder or small, quantizer=quantizer, token_width=WIDTH)


def pyramids() -> dict[str, Callable[[], LearnedTokenizer]]:
    """Each, with one codebook of moving averages, and with one learned by gradient for each level."""
    cases: dict[str, Callable[[], LearnedTokenizer]] = {}
    for pyramid in PYRAMIDS:
        cases[f"{type(pyramid).__name__} shared"] = lambda pyramid=pyramid: tokenizer(
            PyramidQuantizer(
                pyramid=pyramid, quantizer=VectorQuantizer(codebook_size=16), refinement=PhiConvolutions(num=2)
            )
        )
        cases[f"{type(pyramid).__name__} own"] = lambda pyramid=pyramid: tokenizer(
            PyramidQuantizer(pyramid=pyramid, quantizer=GradientVectorQuantizer(codebook_size=16), share_codebook=False)
        )
    return cases


CASES: dict[str, Callable[[], LearnedTokenizer]] = {
    **{name: lambda build=build: tokenizer(build()) for name, build in EVERY.items()},
    **pyramids(),
    "random level": lambda: tokenizer(PyramidQuantizer(pyramid=ScalePyramid(residual=False), random_level=0.7)),
    "nested dropout": lambda: tokenizer(
        VectorQuantizer(codebook_size=16),
        ViTAutoencoder(patch_size=4, num_tokens=6, width=16, nested_dropout=NestedDropout(lengths=PowersOfTwo())),
    ),
    "kl": lambda: KLTokenizer(facts=FACTS, autoencoder=ConvAutoencoder(channels=8), token_width=WIDTH),
}


def step(model: LearnedTokenizer) -> Counter[str]:
    """What a training step asks for, its gradient included."""
    label = torch.zeros(2, dtype=torch.int64)
    batch = Batch(torch.rand(2, 3, 8, 8) * 2 - 1, label, label)
    with Asked() as asked:
        loss = model.training_step(batch, 0)["loss"]
        assert loss is not None
        loss.backward()
    return asked.counted


def test_every_quantizer_is_here() -> None:
    discover()
    used = {type(build().quantizer) for build in CASES.values()}
    ahead, missing = [Quantizer], set()
    while ahead:
        ahead += (cls := ahead.pop()).__subclasses__()
        if cls.__module__.startswith("arlab.") and not getattr(cls, "__abstractmethods__", None) and cls not in used:
            missing.add(cls)
    assert not missing


def test_what_asks_is_counted() -> None:
    with Asked() as asked:
        x = torch.tensor([0, 1])
        int(x.sum())
        bool((x > 0).all())
        x[x > 0] + x[x]
        x.bincount()
    assert asked.counted == {"lift_fresh": 1, "_local_scalar_dense": 2, "index": 1, "bincount": 1}


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("name", CASES)
def test_a_training_step_asks_for_nothing(name: str) -> None:
    model = CASES[name]().train()
    first, *later = [step(model) for _ in range(4)]
    assert later == [Counter()] * 3
    # The lengths of prefixes are handed over once.
    assert first == (Counter({"lift_fresh": 1}) if name == "nested dropout" else Counter())
