"""The feature term: the student's projected features match the fused teacher features."""

from __future__ import annotations

import torch
from torch import Tensor


def feature(projected: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine, averaged over images; both [N, D], result in [0, 2].

    A FitNets hint (Romero et al. 2015, arXiv 1412.6550) made independent of the features' scale;
    the cosine is this project's choice.
    """
    return 1.0 - torch.cosine_similarity(projected, teacher, dim=1).mean()
