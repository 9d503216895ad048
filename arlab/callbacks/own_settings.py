"""A checkpoint gives an optimizer its moments, the configuration its settings."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


class OwnSettings(L.Callback):
    """Keeps learning rate, betas, weight decay and schedule as they are configured when a checkpoint is loaded.

    Restoring an optimizer brings back the settings it was saved with, silently. In a run that goes on where it stopped
    they are the same; in one that starts from another run's checkpoint those of the configuration are meant.
    """

    def __init__(self) -> None:
        self._groups: list[list[dict[str, Any]]] = []
        self._rates: list[list[float]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Optimizers are built already, and restored after this.
        self._groups = [
            [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
            for optimizer in trainer.optimizers
        ]
        self._rates = [_base_rates(config.scheduler) for config in trainer.lr_scheduler_configs]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        scheduled = {id(config.scheduler.optimizer) for config in trainer.lr_scheduler_configs}
        for optimizer, groups in zip(trainer.optimizers, self._groups, strict=True):
            for group, own in zip(optimizer.param_groups, groups, strict=True):
                group.update(
                    {key: value for key, value in own.items() if key != "lr" or id(optimizer) not in scheduled}
                )
        for config, rates in zip(trainer.lr_scheduler_configs, self._rates, strict=True):
            if rates:
                _reschedule(config.scheduler, rates)


def _reschedule(schedule: LRScheduler, rates: list[float]) -> None:
    """Follow the configured peaks from where the schedule stands."""
    current = [group["lr"] for group in schedule.optimizer.param_groups]
    if isinstance(schedule, LambdaLR):
        factors = [float(factor(schedule.last_epoch)) for factor in schedule.lr_lambdas]
        current = [rate * factor for rate, factor in zip(rates, factors, strict=True)]
    else:
        current = [now * (rate / old) for now, rate, old in zip(current, rates, schedule.base_lrs, strict=True)]
    schedule.base_lrs = list(rates)
    schedule._last_lr = current
    for group, rate in zip(schedule.optimizer.param_groups, current, strict=True):
        group["lr"] = rate


def _base_rates(schedule: object) -> list[float]:
    """The peaks of a schedule; none of one that has no such thing, which goes on as it was saved."""
    return [float(rate) for rate in getattr(schedule, "base_lrs", ())]
