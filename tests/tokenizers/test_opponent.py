"""A discriminator is saved beside its tokenizer, resumed exactly, and the same in all processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch

from arlab.configurable import from_spec
from arlab.generators.generator import Generator, load_tokenizer
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.raster import Raster
from arlab.runs.checkpoint import read, rebuild
from arlab.runs.export import export
from arlab.runs.resolve import load_model
from arlab.tokenizers.adversarial import Adversarial
from arlab.tokenizers.discriminator import PatchDiscriminator
from arlab.tokenizers.gan_losses import NonSaturating
from arlab.tokenizers.opponent import KEY
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.tiny import tiny_backbone
from tests.tokenizers.adversarial_runs import StopAfter, fit, game, opposing, same, state, tiny


@pytest.mark.parametrize(("stop", "matching_weight"), [(2, 0.0), (3, 0.0), (5, 0.0), (3, 0.5), (5, 0.5)])
def test_half_a_run_resumed_is_the_whole_run(tmp_path: Path, stop: int, matching_weight: float) -> None:
    """Bit-equal, stopped before the discriminator trains (2 of 8), while it leads (3) and while it is heard (5)."""

    def adversarial() -> Adversarial:
        return game(start_step=4, lead_steps=2, gan_loss=NonSaturating(), matching_weight=matching_weight)

    whole = tiny(adversarial())
    fit(whole, tmp_path, 8)
    half, saved = tiny(adversarial()), tmp_path / "half.ckpt"
    assert fit(half, tmp_path, 8, callbacks=[StopAfter(stop, saved)]).global_step == stop
    resumed = tiny(adversarial())
    resumed.adversarial.create()  # type: ignore[union-attr]
    with torch.no_grad():
        for weight in resumed.adversarial.discriminator.parameters():  # type: ignore[union-attr]
            weight.fill_(0.1)
    fit(resumed, tmp_path, 8, ckpt_path=saved)
    assert same(state(resumed), state(whole))
    ends: list[dict[str, object]] = []
    for tokenizer in (whole, resumed):
        assert tokenizer.adversarial is not None
        ends.append({})
        tokenizer.adversarial.opponent.save(ends[-1])
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)
    assert not same(opposing(half), opposing(whole))


def test_going_on_without_a_discriminator_it_leads_first(tmp_path: Path) -> None:
    alone, saved = tiny(None), tmp_path / "alone.ckpt"
    fit(alone, tmp_path, 9, callbacks=[StopAfter(4, saved)])
    opposed = tiny(game(start_step=3, lead_steps=2))
    fit(opposed, tmp_path, 6, ckpt_path=saved)
    twin = tiny(None)
    fit(twin, tmp_path, 6, ckpt_path=saved)
    assert same(state(opposed), state(twin))
    fit(opposed, tmp_path, 7, ckpt_path=saved)
    fit(twin, tmp_path, 7, ckpt_path=saved)
    assert not same(state(opposed), state(twin))


def test_another_discriminator_is_refused(tmp_path: Path) -> None:
    saved = tmp_path / "half.ckpt"
    fit(tiny(game()), tmp_path, 4, callbacks=[StopAfter(2, saved)])
    other = tiny(Adversarial(discriminator=PatchDiscriminator(channels=4, num_layers=1)))
    with pytest.raises(
        ValueError, match=r"^adversarial: the checkpoint's discriminator is another one; restore its options$"
    ):
        fit(other, tmp_path, 4, ckpt_path=saved)


def test_a_checkpoint_is_a_plain_tokenizer_and_a_frozen_one(
    tmp_path: Path, save_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, run = tiny(game()), tmp_path / "run"
    fit(tokenizer, tmp_path, 4).save_checkpoint(run / "checkpoints/last.ckpt")
    held = read(run / "checkpoints/last.ckpt")
    assert KEY in held
    assert not any("discriminator" in name for name in held["state_dict"])
    image_BCHW = torch.rand(4, 1, 8, 8) * 2 - 1
    tokens_BN = tokenizer.eval().encode(image_BCHW)
    del held[KEY]
    rebuilt = rebuild(held, VQTokenizer)
    assert torch.equal(rebuilt.encode(image_BCHW), tokens_BN)
    # Frozen there is nobody to oppose, and nothing of an opponent in memory.
    assert not list(rebuilt.adversarial.discriminator.parameters())  # type: ignore[union-attr]

    exported = export(run, tmp_path / "exported")
    assert {path.name for path in exported.iterdir()} == {"model.safetensors", "arlab.json", "README.md"}
    assert torch.equal(load_model(exported, Tokenizer).encode(image_BCHW), tokens_BN)

    generator = Generator(
        tokenizer=load_tokenizer(str(run)), ordering=Raster(), backbone=tiny_backbone(), head=DiscreteHead()
    )
    assert torch.equal(generator.tokenizer.encode(image_BCHW), tokens_BN)
    loaded = load_model(save_run(generator, tmp_path / "generator"), Generator)
    assert torch.equal(loaded.tokenizer.encode(image_BCHW), tokens_BN)


def test_a_spec_rebuilds_it() -> None:
    tokenizer = tiny(game(gan_loss=NonSaturating(), weight=0.7, adaptive=False))
    again = from_spec(tokenizer.spec(), VQTokenizer)
    assert again.spec() == tokenizer.spec()
    assert again.adversarial is not None
    assert again.adversarial.regularizer is not None
    assert opposing(again).keys() == opposing(tokenizer).keys()


class Keep(L.Callback):
    """Saves what each process ends with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, VQTokenizer)
        assert pl_module.adversarial is not None
        kept: dict[str, object] = {}
        pl_module.adversarial.opponent.save(kept)
        torch.save({"tokenizer": state(pl_module), **kept}, self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.slow
def test_two_processes_keep_one_discriminator(tmp_path: Path) -> None:
    tokenizer = tiny(game(start_step=2, lead_steps=1))
    fit(tokenizer, tmp_path, 4, strategy="ddp_spawn", devices=2, callbacks=[Keep(tmp_path)])
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first[KEY]["steps"] == 3
    torch.testing.assert_close(first, second, rtol=0, atol=0)
