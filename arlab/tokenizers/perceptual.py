"""A reconstruction measured by what a frozen network sees in it.

Letters: B batch, C channels, H and W image sides.
"""

from __future__ import annotations

from torch import Tensor

from arlab.features.classifier import shipped
from arlab.features.feature_network import FeatureNetwork
from arlab.tokenizers.losses import ReconstructionLoss


class Perceptual(ReconstructionLoss):
    """Mean perceptual distance in the features of a frozen network; goes beside L1 or L2 in a Mix.

    loss = mean over images Σ_layers mean over places Σ_c w_c (u_c / |u| - v_c / |v|)²

        reconstruction:
          class_path: Mix
          init_args: {losses: [L1, Perceptual], weights: [1, 0.1]}

    The network belongs to neither the tokenizer's weights nor its checkpoints. Colours and places of single pixels are
    beyond it, so alone it is no loss to train by.

    The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (LPIPS), arXiv 1801.03924.

    Args:
        network: where features come from; null: FashionClassifier for gray images, EmojiClassifier for RGB.
    """

    def __init__(self, *, network: FeatureNetwork | None = None) -> None:
        super().__init__()
        self.network = network

    def forward(self, reconstruction_BCHW: Tensor, image_BCHW: Tensor) -> Tensor:
        network = shipped(image_BCHW.shape[1]) if self.network is None else self.network
        return network.distance(reconstruction_BCHW, image_BCHW).mean()

    def extra_repr(self) -> str:
        return f"network={'shipped' if self.network is None else type(self.network).__name__}"
