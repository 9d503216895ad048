"""What a classifier's scores of generated images tell without real ones.

Letters: M images, K classes.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torchmetrics.image.inception import InceptionScore

from arlab.metrics.given import Given

_LEAST_LOG = -700.0


def inception_score(logits_MK: Tensor) -> float:
    """exp E KL(p(y|x), p(y)), from 1, where the scores tell nothing, to K, with all classes equally often and sure.

    Over all images at once, not over ten splits: its bias, upwards, falls with their number. 'Inception' is the network
    it was first taken in; here the scores are those of any classifier.

    Improved Techniques for Training GANs, arXiv 1606.03498.

    Raises:
        ValueError: there is no image, or fewer than 2 classes.
    """
    if logits_MK.dim() != 2 or len(logits_MK) < 1 or logits_MK.shape[1] < 2:
        raise ValueError(f"inception score: needs scores (images, 2 or more classes), got {tuple(logits_MK.shape)}")
    # A probability below exp(-700) is 0 even in float64, and 0 log 0 is no number.
    log_MK = logits_MK.double().log_softmax(1).clamp(min=_LEAST_LOG)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # It warns of the memory it takes and of a deviation over one split. It shuffles the images, by which the last
        # digit would change from call to call.
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(0)
        metric = InceptionScore(feature=Given(logits_MK.shape[1]), splits=1)
        metric.update(log_MK)
        mean, _ = metric.compute()
    return float(mean)
