"""What LlamaGen, NAR, PAR and RandAR share: a raster tokenizer, and what is measured of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.importing import Found, import_released
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance
from arlab.generators.sampler import Sampler
from arlab.orderings.step import Layout
from arlab.rng import BatchRng
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace
from tests.parity.measured import Measured, Meter

CLASSES = tuple("0123456789")


class IndexTokenizer(Tokenizer):
    """64 codes on an 8 x 8 grid; the goldens need no pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layout, self.space = Layout(((8, 8),)), TokenSpace(4, 64)
        self.facts = DataFacts("golden", 1, (8, 8), CLASSES)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        return image_BCHW.flatten(1).long()

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens.float().reshape(-1, 1, 8, 8)

    def vectors(self, tokens: Tensor) -> Tensor:
        return tokens[..., None].float()


def released(family: GeneratorFamily, weights: Mapping[str, Tensor], tokenizer: Tokenizer | None = None) -> Generator:
    """The generator that published weights are; its tokenizer is by default ``IndexTokenizer``."""
    found = Found(Path("golden"), family, weights)
    generator = import_released(found, IndexTokenizer() if tokenizer is None else tokenizer)
    assert isinstance(generator, Generator)
    return generator


def logits_of(generator: Generator, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Teacher-forced logits (B, M, V) and the token (M) each is about, in the order of the pass."""
    condition = generator.conditioner(labels)
    step = generator.ordering.teacher(generator.layout, condition.prefix, BatchRng(0, len(labels)), tokens.device)
    logits_BMV = generator.head.logits(generator.teacher_predict(step, tokens, condition)())
    return logits_BMV, step.read.token


def per_token_loss(generator: Generator, tokens: Tensor, labels: Tensor) -> Tensor:
    """The head's loss (B, M) on the teacher-forced pass; nothing is dropped or noised."""
    condition = generator.conditioner(labels)
    rng = BatchRng(0, len(labels))
    step = generator.ordering.teacher(generator.layout, condition.prefix, rng, tokens.device)
    target = tokens.gather(1, step.read.token.expand(len(labels), -1))
    return generator.head.loss(generator.teacher_predict(step, tokens, condition), step, target, rng)


def grad_norm(generator: Generator) -> Tensor:
    """The 2-norm of all gradients together."""
    return norm_of(parameter.grad for parameter in generator.parameters() if parameter.grad is not None)


def norm_of(tensors: Iterable[Tensor]) -> Tensor:
    """The 2-norm of all of these together."""
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]))


def greedy(generator: Generator, labels: Tensor, guidance: Guidance, *, use_cache: bool = True) -> Tensor:
    """The most likely token at every step, (B, N)."""
    sampler = Sampler(guidance=guidance, temperature=0, use_cache=use_cache)
    return sampler.sample(generator, labels, seeds=range(len(labels))).tokens


def gradients_of(
    meter: Meter, family: GeneratorFamily, generator: Generator, io: Mapping[str, Tensor], tokens: str = "tokens"
) -> Iterator[Measured]:
    """The recorded gradients of the mean loss, and the norm of all of them; ``tokens`` are recorded by this name."""
    per_token_loss(generator, io[tokens], io["labels"]).mean().backward()
    ours = {name: weight.grad for name, weight in generator.named_parameters() if weight.grad is not None}
    # What is published but not trained has none.
    still = {name: torch.zeros_like(value) for name, value in generator.named_buffers()}
    theirs = family.names(generator).published(still | ours)
    for key in sorted(key for key in io if key.startswith("grad.")):
        yield meter.scaled(f"∂ loss / ∂ {key[5:]}", theirs[key[5:]], io[key], 1e-3)
    yield meter.close("gradient norm", norm_of(theirs.values()), io["grad_norm"], rtol=1e-4)


def greedy_variants(
    meter: Meter, generator: Generator, io: Mapping[str, Tensor], *, until_token: int, guidance_scale: float = 1.75
) -> Iterator[Measured]:
    """Greedy tokens without guidance, with it, and with it on an interval; with and without the cache."""
    for key, guidance in (
        ("greedy_nocfg", ConstantGuidance()),
        ("greedy_cfg", ConstantGuidance(guidance_scale=guidance_scale)),
        ("greedy_cfgint", ConstantGuidance(guidance_scale=guidance_scale, until_token=until_token)),
    ):
        for use_cache in (True, False):
            tokens = greedy(generator, io["gen_labels"], guidance, use_cache=use_cache)
            yield meter.exact(f"{key}{'' if use_cache else ', no cache'}", tokens, io[key])
