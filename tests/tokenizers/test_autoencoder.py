"""The convolutional autoencoder, its losses and its errors."""

from __future__ import annotations

import pytest
import torch

from arlab.configurable import from_spec
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.losses import L1, L2, Mix, ReconstructionLoss


@pytest.mark.parametrize(
    ("multipliers", "image_size", "latent_size"),
    [([1], (5, 3), (5, 3)), ([1, 2], (6, 10), (3, 5)), ([1, 2, 2], (28, 12), (7, 3))],
)
def test_shapes_of_non_square_images(
    multipliers: list[int], image_size: tuple[int, int], latent_size: tuple[int, int]
) -> None:
    autoencoder = ConvAutoencoder(channels=8, channel_multipliers=multipliers, norm_groups=4)
    autoencoder.bind(3, image_size, width=5, encoder_width=5)
    image = torch.randn(2, 3, *image_size)
    latent = autoencoder.encode(image)
    assert latent.shape == (2, 5, *latent_size)
    assert autoencoder.decode(latent).shape == image.shape


def test_the_place_of_a_pixel_is_kept() -> None:
    """What changes in the lower right corner of a wide image reaches the latent of that corner and not the others."""
    autoencoder = ConvAutoencoder(channels=8, res_blocks=0, norm_groups=8)
    autoencoder.bind(1, (16, 32), width=4, encoder_width=4)
    image = torch.zeros(1, 1, 16, 32, requires_grad=True)
    latent = torch.nn.Sequential(*list(autoencoder.encoder)[:-3])(image)  # before the norm, which mixes all places
    latent[0, :, -1, -1].sum().backward()
    assert image.grad is not None
    assert image.grad[0, 0, 12:, 28:].abs().sum() > 0
    assert image.grad[0, 0, :8, :].abs().sum() == 0
    assert image.grad[0, 0, :, :24].abs().sum() == 0


def test_an_image_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image_size \(28, 30\) is not divisible by 4"):
        ConvAutoencoder(channel_multipliers=[1, 1, 1]).bind(1, (28, 30), width=4, encoder_width=4)


@pytest.mark.parametrize(
    ("options", "key"), [({"channels": 12}, "norm_groups"), ({"channel_multipliers": []}, "channel_multipliers")]
)
def test_impossible_options_are_refused(options: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=f"autoencoder.{key}"):
        ConvAutoencoder(**options)  # type: ignore[arg-type]


def test_losses_by_hand() -> None:
    image, reconstruction = torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.5, -1.0]]]])
    assert L1()(reconstruction, image) == 0.75
    assert L2()(reconstruction, image) == 0.625
    mix = Mix(losses=[L1(), L2()], weights=[2.0, 0.4])
    torch.testing.assert_close(mix(reconstruction, image), torch.tensor(1.75))
    rebuilt = from_spec(mix.spec(), ReconstructionLoss)
    torch.testing.assert_close(rebuilt(reconstruction, image), torch.tensor(1.75))
    with pytest.raises(ValueError, match="weights: expected one per loss"):
        Mix(losses=[L1()], weights=[1.0, 2.0])
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"reconstruction\.weights: must all be at least 0"):
            Mix(losses=[L1()], weights=[weight])
