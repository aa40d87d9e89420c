"""The vision-language contrastive term."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def contrastive(projected: Tensor, texts: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """-log softmax_k(cos(Q(f), t_k) / temperature)_y, averaged over images.

    Args:
        projected: Q(f), the student's features in the text space [N, d].
        texts: class embeddings [C, d].
        labels: [N] int64.
        temperature: above 0.
    """
    scores = F.normalize(projected, dim=1) @ F.normalize(texts, dim=1).T
    return F.cross_entropy(scores / temperature, labels)
