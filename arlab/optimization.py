"""AdamW with warm-up, and weight decay on the right parameters only."""

from __future__ import annotations

import math

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim import Optimizer

from arlab.configurable import Configurable
from arlab.learning_rates import LearningRate
from arlab.ranges import require

_WARMUP_STEPS = 50
_FINAL_FRACTION = 0.1
_MOST = 10**6  # far beyond sense, and far from where a step no longer fits float32


class AdamW(Configurable):
    """AdamW; the learning rate rises linearly over the warm-up, then follows half a cosine down to a fraction.

    lr(step) = learning_rate · min(1, (step + 1) / warmup) · (f + (1 - f) (1 + cos(π · progress)) / 2)

    Parameters of two or more dimensions decay: matrices, convolutions, and the embeddings of tokens and classes.
    Biases, norms and scales do not, nor does what a module with ``no_weight_decay`` holds: place tables, mask and
    query vectors, the offsets of shared modulation.

    Decoupled Weight Decay Regularization, arXiv 1711.05101.

    Args:
        learning_rate: the peak.
        weight_decay: λ, per unit of learning rate.
        betas: decay of the two moments.
        warmup_steps: steps of linear warm-up; 0 for none.
        final_fraction: the learning rate at the last step over the peak; 1 keeps it constant.
        schedule: in place of the warm-up and half cosine above.
        final_weight_decay: λ at the last step, reached by half a cosine (VAR); null keeps it constant.
    """

    def __init__(
        self,
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        betas: tuple[float, float] = (0.9, 0.95),
        warmup_steps: int = _WARMUP_STEPS,
        final_fraction: float = _FINAL_FRACTION,
        schedule: LearningRate | None = None,
        final_weight_decay: float | None = None,
    ) -> None:
        require("optimizer.learning_rate", learning_rate, above=0, at_most=_MOST)
        require("optimizer.weight_decay", weight_decay, at_least=0, at_most=_MOST)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"optimizer.betas: must both be in [0, 1), got {betas}")
        require("optimizer.warmup_steps", warmup_steps, at_least=0)
        require("optimizer.final_fraction", final_fraction, at_least=0, at_most=1)
        if final_weight_decay is not None:
            require("optimizer.final_weight_decay", final_weight_decay, at_least=0, at_most=_MOST)
        for key, value, default in (
            ("warmup_steps", warmup_steps, _WARMUP_STEPS),
            ("final_fraction", final_fraction, _FINAL_FRACTION),
        ):
            if schedule is not None and value != default:
                raise ValueError(f"optimizer.{key}: has no effect beside a schedule, which has its own, got {value}")
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.warmup_steps = warmup_steps
        self.final_fraction = final_fraction
        self.schedule = schedule
        self.final_weight_decay = final_weight_decay

    def build(self, module: nn.Module, total_steps: int) -> OptimizerLRSchedulerConfig:
        """Optimizer and per-step schedule for the trainable parameters of a module."""
        decayed, kept = split_by_decay(module)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        on_gpu = any(parameter.is_cuda for parameter in decayed + kept)
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas, fused=on_gpu or None)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.factor(step, total_steps))
        if self.final_weight_decay is not None:

            def decay(optimizer: Optimizer, args: object, kwargs: object) -> None:
                optimizer.param_groups[0]["weight_decay"] = self.decay(schedule.last_epoch, total_steps)

            optimizer.register_step_pre_hook(decay)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def factor(self, step: int, total_steps: int) -> float:
        """The learning rate at a step over the peak."""
        if self.schedule is not None:
            return self.schedule.factor(step, total_steps)
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        span = max(1, total_steps - self.warmup_steps)
        progress = min(1.0, max(0.0, (step - self.warmup_steps) / span))
        return warmup * (self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * progress)) / 2)

    def decay(self, step: int, total_steps: int) -> float:
        """The weight decay at a step."""
        if self.final_weight_decay is None:
            return self.weight_decay
        progress = min(1.0, step / max(1, total_steps - 1))
        change = self.weight_decay - self.final_weight_decay
        return self.final_weight_decay + change * (1 + math.cos(math.pi * progress)) / 2


def split_by_decay(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters that decay (two or more dimensions) and those that do not.

    A module whose class says ``no_weight_decay = True`` exempts the parameters it holds itself.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    seen: set[int] = set()
    for part in module.modules():
        exempt = bool(getattr(part, "no_weight_decay", False))
        for parameter in part.parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                (kept if exempt or parameter.dim() < 2 else decayed).append(parameter)
    return decayed, kept
