"""How well a model's confidence matches its accuracy: the expected calibration error."""

from __future__ import annotations

import numpy as np

BINS = 15


def top1_confidence(logits: np.ndarray) -> np.ndarray:
    """The softmax probability of each predicted class, float64 [N] in (0, 1].

    Args:
        logits: floating point [N, C], finite.
    """
    relative = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence: np.ndarray = 1.0 / relative.sum(axis=1, dtype=np.float64)
    return confidence


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error (ECE), in [0, 1].

    Guo et al. (2017), "On Calibration of Modern Neural Networks", equation 3: images are sorted by
    confidence into 15 bins of equal width, bin m being ((m-1)/15, m/15], and
    ECE = sum over m of |B_m| / N * |accuracy(B_m) - mean confidence(B_m)|.

    Args:
        confidence: of each prediction, float [N] in [0, 1], N at least 1.
        right: whether each prediction is correct, bool [N].
    """
    inner_edges = np.arange(1, BINS) / BINS
    bins = np.digitize(confidence, inner_edges, right=True)
    # within a bin, |B_m| times the difference of the means is the sum of the differences
    apart = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(apart).sum() / len(right))
