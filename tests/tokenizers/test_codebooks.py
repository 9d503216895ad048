"""The laws of codebooks, over every class there is.

Letters: B batch, C vector width, h and w latent sides, T vectors, V codebook size.
"""

from __future__ import annotations

import copy
import inspect
import math

import pytest
import torch
from torch import Tensor

from arlab.configurable import from_spec
from arlab.discovery import discover
from arlab.optimization import split_by_decay
from arlab.tokenizers.quantizers.bsq import BSQ
from arlab.tokenizers.quantizers.entropy import EntropyLoss
from arlab.tokenizers.quantizers.fsq import FSQ
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.lfq import LFQ
from arlab.tokenizers.quantizers.quantizer import Codebook
from arlab.tokenizers.quantizers.similarity import Cosine
from arlab.tokenizers.quantizers.simvq import SimVQ
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from tests.tokenizers.codebooks import EVERY, WIDTH

every = pytest.mark.parametrize("name", EVERY)


def bound(name: str, shape: tuple[int, ...] = (2, 5)) -> Codebook:
    torch.manual_seed(0)
    codebook = EVERY[name]()
    codebook.bind(WIDTH, shape)
    return codebook


def latents(*sides: int, batch: int = 6, seed: int = 1) -> Tensor:
    return torch.randn(batch, WIDTH, *(sides or (2, 5)), generator=torch.Generator().manual_seed(seed))


def trained(codebook: Codebook, steps: range) -> Codebook:
    """A few steps of stochastic gradient descent on its loss, with what it does itself."""
    parameters = list(codebook.parameters())
    for step in steps:
        loss = codebook(latents(seed=step)).loss
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters) if parameters else (), strict=True
        ):
            parameter.data -= 0.3 * gradient
    return codebook


def test_every_class_is_here() -> None:
    discover()
    found, ahead = set(), [Codebook]
    while ahead:
        ahead += (cls := ahead.pop()).__subclasses__()
        if cls.__module__.startswith("arlab.") and not inspect.isabstract(cls):
            found.add(cls)
    assert found == {type(build()) for build in EVERY.values()}


@every
@pytest.mark.parametrize("shape", [(2, 5), (7,)])
def test_tokens_and_vectors_have_their_places(name: str, shape: tuple[int, ...]) -> None:
    codebook = bound(name, shape)
    z = latents(*shape)
    codebook(z)
    quantized = codebook.eval()(z)
    assert codebook.layout.shapes == (shape,)
    assert quantized.tokens.shape == (6, math.prod(shape))
    assert quantized.tokens.dtype == torch.int64
    assert 0 <= quantized.tokens.min() <= quantized.tokens.max() < codebook.codebook_size
    assert quantized.vectors.shape == z.shape
    assert len(quantized.tokens.unique()) > 3
    torch.testing.assert_close(codebook.assemble(codebook.vectors(quantized.tokens)), quantized.vectors)
    assert quantized.deviation is None


@every
def test_the_code_is_the_looked_up_one_and_the_loss_has_two_parts(name: str) -> None:
    codebook = bound(name)
    z_TC = latents().movedim(1, -1).reshape(-1, WIDTH).requires_grad_()
    if codebook.waits:
        codebook.start(z_TC.detach())
    coded = codebook.quantise(z_TC)
    torch.testing.assert_close(coded.code, codebook.lookup(coded.ids))
    torch.testing.assert_close(coded.vectors, coded.code)
    assert coded.loss.shape == coded.regularizer.shape == ()
    assert not any(figure.requires_grad for figure in coded.figures.values())
    entropies = "entropy" in name or name in ("lfq", "bsq")
    assert set(coded.figures) == ({"sample_entropy", "batch_entropy"} if entropies else set())
    assert bool(coded.regularizer != 0) == entropies
    # In evaluation what is left of the loss is the rest.
    rest = codebook.eval().quantise(z_TC)
    torch.testing.assert_close(rest.loss, coded.loss - coded.regularizer)
    assert float(rest.regularizer) == 0
    assert not rest.figures


@every
def test_gradients_go_where_they_should(name: str) -> None:
    """The decoder's to every latent and no further; those of ``code`` to what is learned; those of the loss to both."""
    codebook = bound(name)
    z_TC = latents().movedim(1, -1).reshape(-1, WIDTH).requires_grad_()
    if codebook.waits:
        codebook.start(z_TC.detach())
    coded = codebook.quantise(z_TC)
    parameters = list(codebook.parameters())
    upstream_TC = torch.randn_like(coded.vectors)
    to_z, *to_codes = torch.autograd.grad(
        (coded.vectors * upstream_TC).sum(), [z_TC, *parameters], retain_graph=True, allow_unused=True
    )
    assert to_z.isfinite().all()
    assert (to_z.abs().sum(-1) > 0).all()
    assert to_codes == [None] * len(parameters)
    assert coded.code.requires_grad == bool(parameters)
    for source in ((coded.code * upstream_TC).sum(), coded.loss) if parameters else ():
        for gradient in torch.autograd.grad(source, parameters, retain_graph=True):
            assert gradient.isfinite().all()
            assert gradient.abs().sum() > 0
    if name != "fsq":
        (to_z,) = torch.autograd.grad(coded.loss, z_TC)
        assert to_z.abs().sum() > 0


@every
def test_a_latent_of_zero_and_one_that_is_no_number(name: str) -> None:
    codebook = bound(name)
    z = latents()
    z[0, :, 0, 0] = 0
    z.requires_grad_()
    quantized = codebook(z)
    (quantized.vectors.sum() + quantized.loss).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    if "cosine" not in name and name != "bsq":  # where lengths are divided by, its gradient is as large as it likes
        assert z.grad.abs().max() < 1e3
    broken = latents()
    broken[0, :, 0, 0] = math.nan
    tokens = codebook.eval()(broken).tokens
    assert 0 <= tokens.min() <= tokens.max() < codebook.codebook_size


@every
def test_float64_is_kept(name: str) -> None:
    torch.manual_seed(0)
    single, double = bound(name).eval(), bound(name).double().eval()
    z = latents()
    expected, quantized = single(z), double(z.double())
    assert quantized.vectors.dtype == quantized.loss.dtype == torch.float64
    assert double.lookup(quantized.tokens).dtype == torch.float64
    torch.testing.assert_close(quantized.vectors.float(), expected.vectors)
    assert double.train()(z.double()).loss.dtype == torch.float64


@every
def test_evaluation_changes_no_state(name: str) -> None:
    codebook = trained(bound(name), range(2)).eval()
    before = copy.deepcopy(codebook.state_dict())
    first, again = codebook(latents(seed=9)), codebook(latents(seed=9))
    assert not first.figures
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.vectors, again.vectors)
    assert all(torch.equal(before[key], value) for key, value in codebook.state_dict().items())


@every
def test_a_copy_made_from_its_state_goes_on_exactly(name: str) -> None:
    original = trained(bound(name), range(3))
    torch.rand(7)
    torch.manual_seed(5)  # another start, and another global generator
    resumed = from_spec(original.spec(), Codebook)
    resumed.bind(WIDTH, (2, 5))
    resumed.load_state_dict(original.state_dict())
    trained(original, range(3, 6))
    torch.rand(7)
    trained(resumed, range(3, 6))
    assert resumed.spec() == original.spec()
    state = original.state_dict()
    assert all(torch.equal(state[key], value) for key, value in resumed.state_dict().items())
    given, expected = resumed.eval()(latents(seed=9)), original.eval()(latents(seed=9))
    assert torch.equal(given.vectors, expected.vectors)
    assert torch.equal(given.tokens, expected.tokens)


@every
def test_weight_decay_leaves_codes_alone(name: str) -> None:
    decayed, kept = split_by_decay(bound(name))
    assert not decayed
    assert len(kept) == len(list(bound(name).parameters()))


@pytest.mark.parametrize(
    "codebook",
    [
        VectorQuantizer(codebook_size=64),
        VectorQuantizer(codebook_size=64, similarity=Cosine()),
        GradientVectorQuantizer(codebook_size=64),
        GradientVectorQuantizer(codebook_size=64, similarity=Cosine(), entropy=EntropyLoss()),
        GradientVectorQuantizer(codebook_size=64, start_from_data=False, decay=0.9),  # revival does it
        SimVQ(codebook_size=64),
    ],
    ids=lambda codebook: type(codebook).__name__,
)
def test_most_codes_are_used_on_gaussian_latents(codebook: Codebook) -> None:
    codebook.bind(WIDTH, (8, 8))
    optimizer = torch.optim.Adam([*codebook.parameters(), torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    for step in range(200):
        optimizer.zero_grad()
        loss = codebook(3 * latents(8, 8, batch=4, seed=step) + 1).loss
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
    tokens = codebook.eval()(3 * latents(8, 8, batch=32, seed=999) + 1).tokens
    counts_V = torch.bincount(tokens.flatten(), minlength=64)
    assert float((counts_V > 0).float().mean()) > 0.9


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VectorQuantizer(codebook_size=2**21), "quantizer.codebook_size: must be from 2 to 1048576"),
        (lambda: GradientVectorQuantizer(codebook_size=1), "quantizer.codebook_size: must be from 2"),
        (lambda: GradientVectorQuantizer(codebook_weight=0.0), "quantizer.codebook_weight: must be positive"),
        (lambda: GradientVectorQuantizer(decay=math.nan), "quantizer.decay: must be at least 0 and below 1, got nan"),
        (lambda: SimVQ(commitment_weight=math.inf), "quantizer.commitment_weight: must be at least 0, got inf"),
        (lambda: EntropyLoss(temperature=0.0), "quantizer.entropy.temperature: must be positive"),
        (lambda: EntropyLoss(weight=math.nan), "quantizer.entropy.weight: must be at least 0, got nan"),
        (lambda: LFQ(inverse_temperature=-1.0), "quantizer.inverse_temperature: must be positive"),
        (lambda: LFQ().bind(19, (2, 2)), "tokenizer.token_width: .* 1 .. 18, got 19; for more bits there is BSQ"),
        (lambda: BSQ(diversity=-1.0), "quantizer.diversity: must be at least 0"),
        (lambda: BSQ().bind(63, (2, 2)), "tokenizer.token_width: .* 1 .. 62, got 63"),
        (lambda: FSQ(levels=[]), r"quantizer.levels: must be .*, got \[\]"),
        (lambda: FSQ(levels=[2, 3]), r"quantizer.levels: must be one or more numbers in 3 .. 1000 .*, got \[2, 3\]"),
        (lambda: FSQ(levels=[1000] * 9), "quantizer.levels: must make at most 262144 codes.* there is BSQ"),
        (lambda: FSQ().bind(5, (2, 2)), r"tokenizer.token_width: .* quantizer.levels, 4 \(\[8, 5, 5, 5\]\), got 5"),
    ],
)
def test_impossible_options_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=f"^{message}"):
        build()
