"""The patch discriminator sees patches, and the two sides of the game are as published.

Letters: B batch, C channels, H and W image sides, h and w sides of the map of logits.
"""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor, nn

from arlab.tokenizers.discriminator import BatchNorm, Discriminator, GroupNorm, MapNorm, NoMapNorm, PatchDiscriminator
from arlab.tokenizers.gan_losses import Hinge, NonSaturating
from arlab.tokenizers.regularizers import R1, LeCam

NORMS = [NoMapNorm(), BatchNorm(), GroupNorm(num_groups=4)]


def bound(size: tuple[int, int], num_layers: int = 2, norm: MapNorm | None = None, channels: int = 3) -> Discriminator:
    discriminator = PatchDiscriminator(channels=8, num_layers=num_layers, norm=norm)
    discriminator.bind(channels, size)
    return discriminator


@pytest.mark.parametrize(
    ("size", "num_layers", "logits"),
    [
        ((28, 28), 1, (12, 12)),
        ((28, 28), 2, (5, 5)),
        ((28, 28), 3, (1, 1)),
        ((32, 32), 3, (2, 2)),
        ((24, 50), 2, (4, 10)),
        ((256, 256), 3, (30, 30)),
    ],
)
def test_the_map_of_logits(size: tuple[int, int], num_layers: int, logits: tuple[int, int]) -> None:
    assert bound(size, num_layers)(torch.randn(2, 3, *size)).shape == (2, 1, *logits)


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_features_are_what_each_layer_gives_and_the_logits_last(norm: MapNorm) -> None:
    discriminator, image_BCHW = bound((16, 20), 2, norm), torch.randn(4, 3, 16, 20)
    maps = discriminator.features(image_BCHW)
    assert [tuple(x.shape) for x in maps] == [(4, 8, 8, 10), (4, 16, 4, 5), (4, 32, 3, 4), (4, 1, 2, 3)]
    assert torch.equal(maps[-1], discriminator(image_BCHW))
    assert isinstance(discriminator, PatchDiscriminator)
    assert torch.equal(maps[0], discriminator.layers[:2](image_BCHW))


def test_what_tells_no_features_tells_its_logits() -> None:
    discriminator, image_BCHW = _Linear(), torch.randn(4, 2, 3, 5)
    discriminator.bind(2, (3, 5))
    (logits_B,) = discriminator.features(image_BCHW)
    assert torch.equal(logits_B, discriminator(image_BCHW))


@pytest.mark.parametrize(("num_layers", "seen"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_its_patch_and_no_more(num_layers: int, seen: int) -> None:
    image_BCHW = torch.randn(1, 3, 96, 112, requires_grad=True)
    logits_B1hw = bound((96, 112), num_layers, NoMapNorm())(image_BCHW)
    middle = logits_B1hw[0, 0, logits_B1hw.shape[2] // 2, logits_B1hw.shape[3] // 2]
    (slope_BCHW,) = torch.autograd.grad(middle, image_BCHW)
    rows = slope_BCHW.abs().sum((0, 1, 3)).nonzero().flatten()
    columns = slope_BCHW.abs().sum((0, 1, 2)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == int(columns[-1] - columns[0]) + 1 == seen


def test_published_size() -> None:
    """Three layers over images laid on images (six channels) have 2.769 M parameters."""
    discriminator = PatchDiscriminator()
    discriminator.bind(6, (256, 256))
    assert sum(weight.numel() for weight in discriminator.parameters()) == 2_768_705


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_only_batch_norm_mixes_images(norm: MapNorm) -> None:
    discriminator = bound((16, 20), 2, norm)
    image_BCHW = torch.randn(4, 3, 16, 20)
    alone = torch.cat([discriminator(image[None]) for image in image_BCHW])
    assert torch.allclose(discriminator(image_BCHW), alone, atol=1e-6) is not isinstance(norm, BatchNorm)
    assert not list(discriminator.buffers())


@pytest.mark.parametrize("norm", [BatchNorm(), GroupNorm(num_groups=4)], ids=lambda norm: type(norm).__name__)
def test_norms_are_in_float32_under_autocast(norm: MapNorm) -> None:
    module = norm.build(8)
    x_BCHW = 5 * torch.randn(3, 8, 4, 6).bfloat16() + 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = module(x_BCHW)
    assert torch.equal(given, module(x_BCHW.float()))
    each = given.movedim(1, 0).flatten(1) if isinstance(norm, BatchNorm) else given.flatten(2).unflatten(1, (4, 2))
    mean = each.mean(-1) if isinstance(norm, BatchNorm) else each.mean((2, 3))
    assert mean.abs().max() < 1e-5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PatchDiscriminator(channels=0), "discriminator.channels: must be from 1 to 512, got 0"),
        (lambda: PatchDiscriminator(num_layers=0), "discriminator.num_layers: must be at least 1, got 0"),
        (lambda: GroupNorm(num_groups=0), "discriminator.norm.num_groups: must be at least 1, got 0"),
        (
            lambda: bound((32, 16), 3),
            "discriminator.num_layers: 3 leave nothing of an image of (32, 16); choose at most 2",
        ),
        (
            lambda: bound((5, 64), 1),
            "discriminator.num_layers: 1 leave nothing of an image of (5, 64); it needs sides of at least 6",
        ),
        (
            lambda: bound((32, 32), 2, GroupNorm(num_groups=5)),
            "discriminator.norm.num_groups: must divide the discriminator's channels, got 5 for 16",
        ),
        (lambda: R1(weight=math.nan), "adversarial.regularizer.weight: must be at least 0, got nan"),
        (lambda: LeCam(decay=1.0), "adversarial.regularizer.decay: must be at least 0 and below 1, got 1.0"),
    ],
)
def test_impossible_options_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()


def test_every_number_of_layers_that_is_offered_works() -> None:
    for side in range(6, 70):
        most = next(n for n in range(9, 0, -1) if side // 2**n >= 3)
        assert bound((side, 80), most)(torch.randn(2, 3, side, 80)).shape[2] >= 1
        with pytest.raises(ValueError, match=f"choose at most {most}$"):
            bound((side, 80), most + 1)


def test_hinge_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0, 1.0])
    assert float(Hinge().discriminator(real, fake)) == pytest.approx((0.5 / 2 + (0 + 1 + 2) / 3) / 2)
    assert float(Hinge().generator(fake)) == pytest.approx(2 / 3)


def test_the_logistic_loss_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 1.0])

    def nll(*probabilities: float) -> float:
        return -sum(math.log(p) for p in probabilities) / len(probabilities)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    expected = (nll(sigmoid(2.0), sigmoid(0.5)) + nll(1 - sigmoid(-3.0), 1 - sigmoid(1.0))) / 2
    assert float(NonSaturating().discriminator(real, fake)) == pytest.approx(expected)
    assert float(NonSaturating().generator(fake)) == pytest.approx(nll(sigmoid(-3.0), sigmoid(1.0)))


class _Linear(Discriminator):
    """D(x) = w · x."""

    def __init__(self) -> None:
        super().__init__()

    def bind(self, channels: int, image_size: tuple[int, int]) -> None:
        self.weight = nn.Parameter(torch.randn(channels, *image_size))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return (image_BCHW * self.weight).sum((1, 2, 3))


def test_r1_of_a_linear_discriminator() -> None:
    discriminator = _Linear()
    discriminator.bind(2, (3, 4))
    image_BCHW = torch.randn(5, 2, 3, 4)
    logits_B = discriminator(image_BCHW)
    penalty = R1(weight=3.0)(discriminator, image_BCHW, logits_B, logits_B)
    torch.testing.assert_close(penalty, 1.5 * discriminator.weight.square().sum())
    penalty.backward()
    torch.testing.assert_close(discriminator.weight.grad, 3.0 * discriminator.weight.detach())
    assert not image_BCHW.requires_grad


def test_lecam_by_hand() -> None:
    lecam, discriminator = LeCam(weight=0.5, decay=0.9), _Linear()
    real, fake = torch.tensor([1.0, 3.0], requires_grad=True), torch.tensor([-1.0, 0.0])
    penalty = lecam(discriminator, torch.zeros(2, 1, 1, 1), real, fake)
    average_real, average_fake = 0.1 * 2.0, 0.1 * -0.5
    by_hand = sum((r - average_fake) ** 2 for r in (1.0, 3.0)) / 2 + sum((f - average_real) ** 2 for f in (-1, 0)) / 2
    assert float(penalty.detach()) == pytest.approx(0.5 * by_hand)
    (slope,) = torch.autograd.grad(penalty, real)
    torch.testing.assert_close(slope, 0.5 * torch.tensor([1.05, 3.05]))
    lecam(discriminator, torch.zeros(2, 1, 1, 1), real, fake)
    assert float(lecam.average_real) == pytest.approx(0.9 * 0.2 + 0.2)
