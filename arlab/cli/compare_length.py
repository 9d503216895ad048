"""What an experiment is called with so that its generator is trained as long as a budget says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from arlab.cli.prepared import Prepared
from arlab.compare.budget import Budget, validation_interval


def length_words(run: Prepared, budget: Budget | None, flops_per_batch: Callable[[], float]) -> tuple[str, ...]:
    """Options of ``arlab fit`` for a budget: length and, in proportion, the interval between validations.

    Nothing where the experiment is as long by itself, so that its own run is the same.

    Args:
        run: the experiment as it stands.
        budget: None leaves it as long as it is.
        flops_per_batch: of the generator, forward and backward; asked only where it matters.

    Raises:
        ValueError: the budget does not reach for one step, or the clock may end the training before it.
    """
    if budget is None:
        return ()
    trainer = run.cli.config.trainer
    if trainer.max_time is not None:
        raise ValueError("trainer.max_time: ends a run by the clock, which no budget knows; set it to null")
    steps = budget.steps(lambda: flops_per_batch() * trainer.accumulate_grad_batches)
    own = own_steps(run)
    if steps == own == trainer.max_steps:
        return ()
    words = ["--trainer.max_steps", str(steps)]
    if trainer.max_epochs is not None:
        words += ["--trainer.max_epochs", "null"]
    interval = None if own is None else _own_interval(run)
    if own is not None and interval is not None:
        several = trainer.accumulate_grad_batches
        interval = validation_interval(steps * several, own * several, interval)
        words += ["--trainer.val_check_interval", str(interval)]
        words += ["--trainer.check_val_every_n_epoch", "null"]
    return tuple(words)


def own_steps(run: Prepared) -> int | None:
    """How many optimiser steps an experiment asks for; None where it does not say."""
    trainer = run.cli.config.trainer
    asked = [trainer.max_steps] if trainer.max_steps > 0 else []
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        asked.append(trainer.max_epochs * math.ceil(_batches(run) / trainer.accumulate_grad_batches))
    return min(asked, default=None)


def _own_interval(run: Prepared) -> int | None:
    """Batches between validations; None where they go by the clock, or there are none."""
    trainer = run.cli.config.trainer
    interval: Any = 1.0 if trainer.val_check_interval is None else trainer.val_check_interval
    if not isinstance(interval, (int, float)):
        return None
    batches = interval if isinstance(interval, int) else max(1, int(interval * _batches(run)))
    return batches * (trainer.check_val_every_n_epoch or 1)


def _batches(run: Prepared) -> int:
    """Those of an epoch."""
    trainer = run.cli.config.trainer
    batches, limit = len(run.data.train_dataloader()), trainer.overfit_batches or trainer.limit_train_batches
    if limit is None:
        return batches
    return min(limit, batches) if isinstance(limit, int) else max(1, int(limit * batches))
