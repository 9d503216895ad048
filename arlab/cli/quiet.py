"""Lightning's tips and hints that say nothing about a run of arlab's."""

from __future__ import annotations

import logging
import os
import warnings


def quiet() -> None:
    """Keep warnings that matter, drop the rest."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*GPU available but not used.*",
        ".*`tensorboardX` has been removed.*",
        ".*Found .* module.* in eval mode at the start of training.*",
        ".*callbacks used to create the checkpoint need to be provided.*",
        ".*checkpoint was not created with WeightAveraging.*",
        ".*You requested to overfit but enabled .* dataloader shuffling.*",
    ):
        warnings.filterwarnings("ignore", message=message)
