"""A loss that is not a number stops the run, before it is saved, and leaves what there is to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from arlab.data.data import Batch
from arlab.images import image_grid, save_png
from arlab.module import Module
from arlab.runs.files import written_whole

_COLUMNS = 16


class FiniteLoss(L.Callback):
    """Stops a run at the first loss that is NaN or infinite, a discriminator's as well.

    On the CPU a loss is looked at before its gradients; on an accelerator at the next step, so that nothing waits
    for it. The batch is written to ``nonfinite/step-XXXXXX.safetensors`` (image, label, row, and tokens that were made
    before) in the Trainer's ``default_root_dir`` with a picture beside it, and the error says what was found and what
    it usually comes from.

    Raises:
        ValueError: out of the Trainer.
    """

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._waiting: tuple[Mapping[str, Tensor], Batch | None, int] | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch = batch if isinstance(batch, Batch) else None

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        others = pl_module.other_losses if isinstance(pl_module, Module) else {}
        now = ({"train/loss": loss.detach(), **others}, self._batch, trainer.global_step)
        due, self._waiting = (now, None) if loss.device.type == "cpu" else (self._waiting, now)
        if due is not None:
            _refuse_nonfinite_loss(*due, trainer, pl_module, updated=due is not now)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._settle(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._settle(trainer, pl_module)

    def _settle(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        due, self._waiting = self._waiting, None
        if due is not None:
            _refuse_nonfinite_loss(*due, trainer, pl_module, updated=True)


def refuse_nonfinite_weights(module: nn.Module, step: int) -> None:
    """See that weights can be saved.

    Raises:
        ValueError: one of them is NaN or infinite.
    """
    bad = nonfinite_weights(module)
    if bad:
        raise ValueError(f"weights are not finite after step {step} and were not saved: {_few(bad)}; {_ADVICE}")


def nonfinite_weights(module: nn.Module) -> list[str]:
    """The names of weights that hold NaN or infinite values."""
    state = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    norms = torch._foreach_norm(list(state.values())) if state else []
    finite = torch.stack([norm.float() for norm in norms]).isfinite().tolist() if norms else []
    # A norm may overflow where no value has.
    return [
        name for name, is_fine in zip(state, finite, strict=True) if not is_fine and not state[name].isfinite().all()
    ]


_ADVICE = "usual causes: a learning rate too high, no warm-up, no trainer.gradient_clip_val, 16-bit precision"


def _refuse_nonfinite_loss(
    losses: Mapping[str, Tensor],
    batch: Batch | None,
    step: int,
    trainer: L.Trainer,
    pl_module: L.LightningModule,
    *,
    updated: bool,
) -> None:
    values = {name: float(loss) for name, loss in losses.items()}
    wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
    if not wrong:
        return
    saved = "" if batch is None else f"; the batch is in {_save(batch, trainer, step)}"
    found, causes = _diagnosis(batch, trainer, pl_module, updated, beside=list(wrong) != ["train/loss"])
    named = " and ".join(f"{name} is {value}" for name, value in wrong.items())
    raise ValueError(f"{named} at step {step}: {found}{saved}; {causes}")


def _diagnosis(
    batch: Batch | None, trainer: L.Trainer, pl_module: L.LightningModule, updated: bool, beside: bool
) -> tuple[str, str]:
    """What was found, and what it usually comes from.

    Weights tell nothing once the loss has ``updated`` them; a loss ``beside`` the model's comes of others as well.
    """
    if batch is not None:
        wrong = (~batch.image.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
        if wrong:
            which = (
                f"image {wrong[0]} of the batch holds" if len(wrong) == 1 else f"{len(wrong)} images of the batch hold"
            )
            return f"{which} values that are not finite", "mend the data"
    bad = nonfinite_weights(pl_module)
    causes = []
    rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
    if rates:
        causes.append(f"a learning rate too high (now {max(rates):.3g})")
    if not trainer.gradient_clip_val:
        causes.append("gradients that are not clipped (trainer.gradient_clip_val is not set)")
    if "16" in str(trainer.precision):
        causes.append(f"too narrow a precision ({trainer.precision}; try trainer.precision 32-true)")
    advice = f"usual causes: {'; '.join(causes) or 'a loss that divides by zero or takes the logarithm of 0'}"
    if updated:
        return "images are finite", advice
    if bad:
        return f"an earlier update has left weights that are not finite ({_few(bad)})", advice
    inside = "inside the model or in what trains beside it" if beside else "inside the model"
    return f"images and weights are finite, so it arose {inside}", advice


def _save(batch: Batch, trainer: L.Trainer, step: int) -> Path:
    """Write a batch for later, under a name of its own in each process."""
    rank = f"-rank-{trainer.global_rank}" if trainer.world_size > 1 else ""
    path = Path(trainer.default_root_dir) / "nonfinite" / f"step-{step:06d}{rank}.safetensors"
    with written_whole(path) as draft:
        held = {name: value for name, value in batch._asdict().items() if value is not None}
        save_file({name: value.detach().cpu().contiguous() for name, value in held.items()}, draft)
    if batch.image.shape[1] in (1, 3):
        save_png(image_grid(batch.image.nan_to_num(), _COLUMNS, scale=2), path.with_suffix(".png"))
    return path


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
