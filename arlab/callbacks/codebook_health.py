"""Watches a tokenizer's training: how its codes are used, its posterior, its discriminator; warns with a remedy.

Letters: B batch, C vector width, N tokens, L levels, V codebook size.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from arlab.callbacks.code_window import CodeWindow
from arlab.callbacks.symptoms import (
    Contest,
    Notes,
    Symptom,
    of_codebook,
    of_discriminator,
    of_levels,
    of_perplexity,
    of_posterior,
    of_reconstruction,
)
from arlab.configurable import Configurable
from arlab.ranges import require
from arlab.runs.files import write_text
from arlab.tokenizers.learned import LearnedTokenizer

_LOOKS = 8
"""How often it looks within a window."""
_MOST_BATCHES = 10**6
_UNHEARD = {"adversarial": None, "adaptive_weight": None}


class CodebookHealth(L.Callback, Configurable):
    """Looks at a learned tokenizer eight times per window of training batches and warns of what goes wrong, once.

    A warning says what was seen, its likely causes and remedies; it is repeated only after a recovery. All that was
    told lies in ``health.json`` in the Trainer's ``default_root_dir``, a list of step, condition and text; where there
    is no such file there was nothing to tell. The conditions: codebook usage (of each level, where each has a codebook
    of its own), codebook perplexity, level 0, level 1, ..., posterior collapse, posterior explosion, discriminator
    wins, discriminator blind, adaptive weight, reconstruction.

    Logged: train/dead_codes (hit by no batch of the window), train/revived_codes (dead at the last look, hit since),
    train/window_usage, train/window_perplexity; where there are several levels train/window_usage_level_0,
    train/window_perplexity_level_0, train/dead_codes_level_0, ...; of continuous tokens train/kl_channel (nats per
    token and channel) and train/empty_channels (the share of channels below ``min_kl``).

    Training does not change: nothing is drawn at random, and between two looks nothing is read from an accelerator. In
    distributed training codes are those of all processes, summed when it looks; all other figures are the first one's,
    and a resumed run begins with the first one's recent frequencies.

    Args:
        window: in training batches; what is told of codes is told once there were as many.
        min_usage: codes hit in a window, as a share of the distinct ones that as many vectors hit by chance.
        max_perplexity_fall: how far the perplexity may fall below its highest, as a share of it.
        min_level_information: ln(perplexity) of a level as a share of what its vectors and the codebook allow.
        min_kl: nats a channel of continuous tokens should carry; more than half of them must.
        max_kl: nats per token and channel, on average.
        max_logit_gap: discriminator's logits of images minus those of reconstructions.
        min_logit_gap: the same, below which it tells nothing apart.
        max_adaptive_weight: which it should not exceed for a whole window; it is bounded by 10,000.
        max_psnr_drop: in dB, of val/psnr since the last validation before the discriminator was in the loss.

    Raises:
        ValueError: a number is out of range; or, as a run begins, the model is no learned tokenizer.
    """

    def __init__(
        self,
        *,
        window: int = 200,
        min_usage: float = 0.5,
        max_perplexity_fall: float = 0.5,
        min_level_information: float = 0.1,
        min_kl: float = 0.01,
        max_kl: float = 100.0,
        max_logit_gap: float = 4.0,
        min_logit_gap: float = 0.02,
        max_adaptive_weight: float = 9e3,
        max_psnr_drop: float = 1.0,
    ) -> None:
        require("window", window, at_least=1, at_most=_MOST_BATCHES)
        require("min_usage", min_usage, at_least=0, at_most=1)
        require("max_perplexity_fall", max_perplexity_fall, above=0, at_most=1)
        require("min_level_information", min_level_information, at_least=0, at_most=1)
        require("min_kl", min_kl, at_least=0)
        require("max_kl", max_kl, above=0)
        require("max_logit_gap", max_logit_gap, above=0)
        require("min_logit_gap", min_logit_gap, at_least=0)
        require("max_adaptive_weight", max_adaptive_weight, above=0)
        require("max_psnr_drop", max_psnr_drop, above=0)
        self.window = window
        self.min_usage = min_usage
        self.max_perplexity_fall = max_perplexity_fall
        self.min_level_information = min_level_information
        self.min_kl = min_kl
        self.max_kl = max_kl
        self.max_logit_gap = max_logit_gap
        self.min_logit_gap = min_logit_gap
        self.max_adaptive_weight = max_adaptive_weight
        self.max_psnr_drop = max_psnr_drop
        self.notes = Notes()
        self._folder = Path()
        self._codes: CodeWindow | None = None
        self._dead: Tensor | None = None
        self._kl_C: Tensor | None = None
        self._scale = 1.0
        self._batches = 0
        self._highest = 0.0
        self._history: deque[Contest] = deque(maxlen=_LOOKS)
        self._psnr_at_start: float | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, LearnedTokenizer):
            name = type(pl_module).__name__
            raise ValueError(f"trainer.callbacks: CodebookHealth needs a learned tokenizer, the model is a {name}")
        self._folder = Path(trainer.default_root_dir)
        if pl_module.codes is not None:
            shared = not pl_module.quantizer.own_codebooks
            self._codes = CodeWindow(pl_module.layout, pl_module.codes.codebook_size, self.window, shared=shared)
        self._scale = pl_module.quantizer.token_scale

    # ---- every batch

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._batches += 1
        # A plug-in's own training step may tell nothing but the loss.
        told = outputs if isinstance(outputs, Mapping) else {}
        tokens, deviation = told.get("tokens"), told.get("deviation")
        if self._codes is not None and tokens is not None:
            self._codes.observe(tokens)
        if deviation is not None and tokens is not None:
            kl_C = _kl(tokens / self._scale, deviation / self._scale)
            self._kl_C = kl_C if self._kl_C is None else self._kl_C.to(kl_C.device) + kl_C
        if self._batches % self._interval == 0:
            self._look(trainer, pl_module)

    @property
    def _interval(self) -> int:
        """Batches from one look to the next."""
        return -(-self.window // _LOOKS)

    # ---- every look

    def _look(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        figures: dict[str, float] = {}
        symptoms = [*self._of_codes(figures), *self._of_posterior(figures), *self._of_discriminator(trainer)]
        logged = {f"train/{name}": value for name, value in figures.items()}
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in logged.items()})
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=trainer.fit_loop.epoch_loop._batches_that_stepped)
        self._tell(trainer, pl_module, symptoms)

    def _of_codes(self, figures: dict[str, float]) -> list[Symptom]:
        if self._codes is None:
            return []
        whole, levels = self._codes.gather()
        alive = self._codes.alive()
        revived = 0 if self._dead is None else int((self._dead.to(alive.device) & alive).sum())
        self._dead = ~alive
        figures |= {"dead_codes": whole.dead, "revived_codes": revived}
        figures |= {"window_usage": whole.hit / whole.codes, "window_perplexity": whole.perplexity}
        if len(levels) > 1:
            for number, level in enumerate(levels):
                figures[f"window_usage_level_{number}"] = level.hit / level.codes
                figures[f"window_perplexity_level_{number}"] = level.perplexity
                figures[f"dead_codes_level_{number}"] = level.dead
        if not self._codes.full:
            return []
        self._highest = max(self._highest, whole.perplexity)
        books = {"codebook usage": whole}
        if not self._codes.shared:
            books = {f"codebook usage, level {number}": level for number, level in enumerate(levels)}
        return [
            *(of_codebook(name, hits, self.window, min_usage=self.min_usage) for name, hits in books.items()),
            *of_levels(levels, self.window, min_information=self.min_level_information),
            of_perplexity(whole.perplexity, self._highest, max_fall=self.max_perplexity_fall),
        ]

    def _of_posterior(self, figures: dict[str, float]) -> list[Symptom]:
        if self._kl_C is None:
            return []
        kl_C = (self._kl_C / self._interval).tolist()
        self._kl_C = None
        figures |= {
            "kl_channel": sum(kl_C) / len(kl_C),
            "empty_channels": sum(value < self.min_kl for value in kl_C) / len(kl_C),
        }
        return list(of_posterior(kl_C, min_kl=self.min_kl, max_kl=self.max_kl)) if self._settled else []

    def _of_discriminator(self, trainer: L.Trainer) -> list[Symptom]:
        metrics = trainer.callback_metrics
        found = {name: metrics[f"train/{name}"] for name in Contest._fields if f"train/{name}" in metrics}
        if "logits_real" not in found or "logits_fake" not in found:
            return []
        values = torch.stack([value.float() for value in found.values()]).tolist()
        self._history.append(Contest(**{**_UNHEARD, **dict(zip(found, values, strict=True))}))
        if len(self._history) < _LOOKS:
            return []
        return list(
            of_discriminator(
                self._history,
                max_gap=self.max_logit_gap,
                min_gap=self.min_logit_gap,
                max_weight=self.max_adaptive_weight,
            )
        )

    @property
    def _settled(self) -> bool:
        """Whether a whole window has passed."""
        return self._batches >= self.window

    # ---- every validation

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        psnr = trainer.callback_metrics.get("val/psnr")
        if trainer.sanity_checking or psnr is None:
            return
        if "train/adversarial" not in trainer.callback_metrics:
            self._psnr_at_start = float(psnr)
        elif self._psnr_at_start is not None:
            symptom = of_reconstruction(float(psnr), self._psnr_at_start, max_drop=self.max_psnr_drop)
            self._tell(trainer, pl_module, [symptom])

    # ---- what is told, and kept

    def _tell(self, trainer: L.Trainer, pl_module: L.LightningModule, symptoms: Iterable[Symptom]) -> None:
        lines = self.notes.take(trainer.global_step, symptoms)
        if not lines or not trainer.is_global_zero:
            return
        write_text(self._folder / "health.json", json.dumps(self.notes.told, indent=2) + "\n")
        for line in lines:
            pl_module.print(f"step {trainer.global_step}: {line}")

    def state_dict(self) -> dict[str, Any]:
        return {
            "run": self._folder.name,
            "batches": self._batches,
            "codes": None if self._codes is None else self._codes.state_dict(),
            "dead": None if self._dead is None else self._dead.cpu().clone(),
            "kl": None if self._kl_C is None else self._kl_C.cpu().clone(),
            "highest": self._highest,
            "history": [list(figures) for figures in self._history],
            "psnr_at_start": self._psnr_at_start,
            "told": [dict(entry) for entry in self.notes.told],
            "ill": sorted(self.notes.ill),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if state_dict["run"] != self._folder.name:
            # Another run's checkpoint: what is wrong here may be something else, and is told anew.
            return
        self._batches = state_dict["batches"]
        if self._codes is not None and state_dict["codes"] is not None:
            self._codes.load_state_dict(state_dict["codes"])
        self._dead, self._kl_C = state_dict["dead"], state_dict["kl"]
        self._highest = state_dict["highest"]
        self._history = deque((Contest(*figures) for figures in state_dict["history"]), maxlen=_LOOKS)
        self._psnr_at_start = state_dict["psnr_at_start"]
        self.notes.told = [dict(entry) for entry in state_dict["told"]]
        self.notes.ill = set(state_dict["ill"])


def _kl(mean_BNC: Tensor, deviation_BNC: Tensor) -> Tensor:
    """KL(N(m, s²) ‖ N(0, 1)) = (m² + s² - 1 - ln s²) / 2 of each channel, mean over the tokens of a batch, (C,)."""
    variance_BNC = deviation_BNC.float().square()
    nats_BNC = (mean_BNC.float().square() + variance_BNC - 1 - variance_BNC.clamp(min=1e-30).log()) / 2
    return nats_BNC.mean((0, 1))
