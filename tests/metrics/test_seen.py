"""Sets of images as a network sees them: features, scores and labels, and the file they are kept in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from arlab.data.stream import Images
from arlab.features.classifier import FeatureClassifier
from arlab.features.feature_network import Extractor, FeatureNetwork
from arlab.metrics.seen import Seen, see, see_cached


class Tiny(FeatureNetwork):
    """A small classifier that counts the images it sees."""

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.count = 0

    def load(self) -> Extractor:
        torch.manual_seed(self.seed)
        return FeatureClassifier(name="tiny", widths=(4, 8), num_features=6)

    def features(self, pixel_NCHW: Tensor, batch_size: int = 250) -> Tensor:
        self.count += len(pixel_NCHW)
        return super().features(pixel_NCHW, batch_size)


class Silent(Tiny):
    """Classifies nothing."""

    def classify(self, feature_ND: Tensor, batch_size: int = 2500) -> None:
        return None


class Broken(Tiny):
    """Gives no number for the fourth image of a batch."""

    def features(self, pixel_NCHW: Tensor, batch_size: int = 250) -> Tensor:
        feature_ND = super().features(pixel_NCHW, batch_size)
        feature_ND[3, 1] = torch.nan
        return feature_ND


def images(count: int = 20, seed: int = 0, levels: int = 256) -> Images:
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, levels, (count, 1, 8, 8), generator=rng, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 10, levels)


def same(one: Seen, other: Seen) -> bool:
    pairs = ((one.feature_ND, other.feature_ND), (one.logits_NK, other.logits_NK), (one.label_N, other.label_N))
    return all((a is None and b is None) or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def test_sees_what_the_network_makes_of_8_bit_images() -> None:
    network, part = Tiny(), images()
    batches: list[None] = []
    seen = see(network, part, batch_size=7, on_batch=lambda: batches.append(None))
    assert len(batches) == 3
    assert len(seen) == 20
    expected = network.features(part.pixel_NCHW)
    torch.testing.assert_close(seen.feature_ND, expected)
    torch.testing.assert_close(seen.logits_NK, network.classify(expected))
    assert torch.equal(seen.label_N, part.label_N)


def test_sees_the_rows_asked_for_in_their_order() -> None:
    network, part = Tiny(), images()
    row_N = torch.tensor([5, 3, 3, 19])
    seen, whole = see(network, part, row_N), see(network, part)
    torch.testing.assert_close(seen.feature_ND, whole.feature_ND[row_N])
    assert torch.equal(seen.label_N, part.label_N[row_N])


def test_images_of_another_depth_become_8_bit() -> None:
    part = images(levels=17)
    exact = Images((part.pixel_NCHW.float() * 255 / 16).round().byte(), part.label_N)
    torch.testing.assert_close(see(Tiny(), part).feature_ND, see(Tiny(), exact).feature_ND)


def test_nothing_to_see_is_refused() -> None:
    with pytest.raises(ValueError, match="images seen: number: must be at least 1, got 0"):
        see(Tiny(), images(), torch.arange(0))
    with pytest.raises(ValueError, match="features, scores and labels are of"):
        Seen(torch.zeros(3, 2), None, torch.zeros(4))


def test_features_that_are_no_numbers_are_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tiny: gives NaN or infinity for 2 of 20 images"):
        see_cached(Broken(), images(), content="a", folder=tmp_path, batch_size=10)
    assert not list(tmp_path.iterdir())


def test_features_by_another_torch_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    see_cached(Tiny(), images(), content="a", folder=tmp_path)
    monkeypatch.setattr(torch, "__version__", "0.0.1")
    see_cached(Tiny(), images(), content="a", folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_kept_images_are_seen_once(tmp_path: Path) -> None:
    network, part = Tiny(), images()
    first = see_cached(network, part, content="a", folder=tmp_path / "kept")
    assert network.count == 20
    again = Tiny()
    batches: list[None] = []
    second = see_cached(again, part, content="a", folder=tmp_path / "kept", on_batch=lambda: batches.append(None))
    assert (again.count, batches) == (0, [])
    assert same(first, second)
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_scores_that_are_not_there_are_not_kept(tmp_path: Path) -> None:
    for _ in range(2):
        assert see_cached(Silent(), images(), content="a", folder=tmp_path).logits_NK is None


def test_files_are_told_apart_by_weights_content_and_rows(tmp_path: Path) -> None:
    part = images()
    see_cached(Tiny(), part, content="a", folder=tmp_path)
    see_cached(Tiny(), part, content="b", folder=tmp_path)
    see_cached(Tiny(seed=1), part, content="a", folder=tmp_path)
    see_cached(Tiny(), part, torch.arange(19), content="a", folder=tmp_path)
    see_cached(Tiny(), part, torch.arange(20).flip(0), content="a", folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
    # All rows are all rows, said or not.
    network = Tiny()
    see_cached(network, part, torch.arange(20), content="a", folder=tmp_path)
    assert network.count == 0


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other", "folder"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    part = images()
    first = see_cached(Tiny(), part, content="a", folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = bytearray(whole)
        flipped[-5] ^= 1
        path.write_bytes({"empty": b"", "cut": whole[:-8], "flipped": bytes(flipped), "other": b"text" * 40}[damage])
    network = Tiny()
    assert same(first, see_cached(network, part, content="a", folder=tmp_path))
    assert network.count == 20
    if damage != "folder":
        assert path.read_bytes() == whole


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    network = Tiny()
    assert len(see_cached(network, images(), content="a", folder=tmp_path / "file")) == 20
    assert network.count == 20
