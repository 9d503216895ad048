"""A tiny tokenizer with a discriminator, and runs of it."""

from __future__ import annotations

import copy
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from arlab.data.digits import Digits
from arlab.optimization import AdamW
from arlab.tokenizers.adversarial import Adversarial
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.discriminator import PatchDiscriminator
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.regularizers import LeCam
from arlab.tokenizers.vq_tokenizer import VQTokenizer


def game(start_step: int = 2, lead_steps: int = 2, **options: object) -> Adversarial:
    return Adversarial(
        discriminator=PatchDiscriminator(channels=8, num_layers=1),
        start_step=start_step,
        lead_steps=lead_steps,
        regularizer=LeCam(weight=0.1, decay=0.9),
        optimizer=AdamW(learning_rate=1e-3, betas=(0.5, 0.9), warmup_steps=2),
        **options,  # type: ignore[arg-type]
    )


def tiny(adversarial: Adversarial | None) -> VQTokenizer:
    torch.manual_seed(0)
    return VQTokenizer(
        facts=Digits().facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4),
        quantizer=VectorQuantizer(codebook_size=16, decay=0.9, revive_below=0.5),
        token_width=4,
        optimizer=AdamW(learning_rate=3e-3, warmup_steps=2),
        adversarial=adversarial,
    )


def fit(
    tokenizer: VQTokenizer, folder: Path, steps: int, ckpt_path: Path | None = None, **options: object
) -> L.Trainer:
    settings: dict[str, object] = {"limit_val_batches": 0, "num_sanity_val_steps": 0, **options}
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,  # type: ignore[arg-type]
    )
    trainer.fit(tokenizer, Digits(batch_size=100, validation_size=1100), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def state(tokenizer: VQTokenizer) -> dict[str, Tensor]:
    return copy.deepcopy(dict(tokenizer.state_dict()))


def opposing(tokenizer: VQTokenizer) -> dict[str, Tensor]:
    """The discriminator's weights; before a run, those that it will begin with."""
    assert tokenizer.adversarial is not None
    tokenizer.adversarial.create()
    return copy.deepcopy(dict(tokenizer.adversarial.discriminator.state_dict()))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


class StopAfter(L.Callback):
    def __init__(self, steps: int, save: Path) -> None:
        self.steps, self.save = steps, save

    def on_train_batch_end(self, trainer: L.Trainer, *rest: object) -> None:
        if trainer.global_step == self.steps:
            trainer.save_checkpoint(self.save)
            trainer.should_stop = True
