"""What tokenizers and generators have in common: facts of their data, and self-describing checkpoints."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any

import lightning as L
from torch import Tensor

from arlab.configurable import Configurable
from arlab.data.data import ImageData, Tokenized
from arlab.data.facts import DataFacts
from arlab.runs.checkpoint import KEY, header


class Module(L.LightningModule, Configurable, ABC):
    """A LightningModule that knows which data it is for and writes down how it was built."""

    facts: DataFacts
    """The data it was made for."""
    other_losses: Mapping[str, Tensor] = {}
    """What else the last training step has minimised than the loss it returned, by the name it is logged under."""

    started_from: str | None = None
    """Whose weights it began with, where it began with those of another model."""

    @property
    def data(self) -> ImageData | None:
        """The data module of the Trainer it is attached to, if any."""
        data = None if self._trainer is None else getattr(self._trainer, "datamodule", None)
        return data if isinstance(data, ImageData) else None

    def setup(self, stage: str) -> None:
        """Refuse data that the model was not made for.

        Raises:
            ValueError: see ``refuse_data``.
        """
        if self.data is not None:
            self.refuse_data(self.data)

    def refuse_data(self, data: ImageData) -> None:
        """See that the model can be trained and evaluated on these data.

        Raises:
            ValueError: channels, image size, intensities or classes differ, or tokens are not the model's.
        """
        contradiction = self.facts.contradiction(data.facts)
        if contradiction is not None:
            raise ValueError(f"model.facts: the model and its data differ in {contradiction}")
        made = data.tokenized
        if made is not None:
            self.refuse_tokens(made)

    def refuse_tokens(self, made: Tokenized) -> None:
        """See that the model can be trained on tokens in place of images.

        Raises:
            ValueError: it needs images, or other tokens.
        """
        raise ValueError(f"data: {made.place} holds tokens, a {type(self).__name__} is trained on images")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write spec, facts and data beside the weights."""
        checkpoint[KEY] = header(self, self.data)

    def adopt(self, checkpoint: Mapping[str, Any]) -> None:
        """Take over what lies in a checkpoint outside ``state_dict``; called before the weights are loaded."""
