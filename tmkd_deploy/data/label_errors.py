"""Labels that a probe contradicts: confident learning, from out-of-fold probabilities.

Northcutt, Jiang and Chuang (2021), "Confident Learning: Estimating Uncertainty in Dataset Labels"
(arXiv 1911.00068). The suspects are those off the diagonal of the confident joint, ranked by
normalised margin.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tmkd_deploy.data.findings import LEAST_PROBE_ACCURACY, Splits
from tmkd_deploy.data.probe import MODEL, folds_of, out_of_fold
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.events import Events
from tmkd_deploy.records.data_check import LabelCheck, SuspectLabel


def check_labels(
    features: Tensor,
    weights: str,
    samples: Sequence[Sample],
    splits: Splits,
    names: Sequence[str],
    similar: Sequence[tuple[str, str]],
    events: Events,
) -> LabelCheck:
    """Look for wrong labels among `samples`.

    Args:
        features: of the samples, float32 [N, D]; they are standardised in place.
        weights: the name of the weights that they were computed with.
        samples: the N >= 1 images to judge.
        splits: the samples of each split, which have all of `samples`.
        names: the classes in the order of their labels.
        similar: pairs of near-duplicates, by the hashes of their pixels, which share a fold.
        events: receives progress.
    """
    labels = torch.tensor([sample.label for sample in samples])
    folds = folds_of(samples, similar)
    judged = _judged(labels, folds, len(names))
    accuracy = balanced = suspects = None
    if judged.any():
        probabilities = out_of_fold(features, labels, folds, len(names), events)[judged]
        labels = labels[judged]
        right = (probabilities.argmax(dim=1) == labels).double()
        accuracy = right.mean().item()
        balanced = _class_means(right, labels, len(names)).nanmean().item()
        if balanced >= LEAST_PROBE_ACCURACY:
            those = [sample for sample, each in zip(samples, judged, strict=True) if each]
            suspects = _suspects(probabilities, labels, those, splits, names)
    return LabelCheck(
        model=MODEL,
        weights=weights,
        images=int(judged.sum()),
        not_judged=int((~judged).sum()),
        accuracy=accuracy,
        balanced_accuracy=balanced,
        suspects=suspects,
    )


def contradicted(probabilities: Tensor, labels: Tensor) -> list[tuple[int, int, float]]:
    """Index, suggested class and normalised margin of contradicted labels, worst first.

    Another class is at least as probable as it is in the mean of the images that have it as their
    label (its self-confidence), and more probable than the label. The margin is the label's
    probability less the largest other one.

    Args:
        probabilities: out of fold, [N, C].
        labels: int64 [N] in [0, C).
    """
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    others = probabilities.scatter(1, labels[:, None], -1.0)
    confidence = _class_means(own, labels, probabilities.shape[1]).nan_to_num(torch.inf)
    best, suggested = others.where(others >= confidence, -1.0).max(dim=1)
    margins = own - others.amax(dim=1)
    found = [
        (index, int(suggested[index]), float(margins[index]))
        for index in (best > own).nonzero().squeeze(1).tolist()
    ]
    return sorted(found, key=lambda each: each[2])


def _judged(labels: Tensor, folds: Tensor, classes: int) -> Tensor:
    """Whether other folds have images of the same class, bool [N]."""
    counts = torch.zeros(int(folds.max()) + 1, classes, dtype=torch.int64)
    counts.index_put_((folds, labels), torch.ones_like(labels), accumulate=True)
    return counts.sum(dim=0)[labels] > counts[folds, labels]


def _class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of `values` [N] by label, [C]; not a number for a class without images."""
    sums = torch.zeros(classes, dtype=values.dtype).index_add_(0, labels, values)
    return sums / torch.bincount(labels, minlength=classes)


def _suspects(
    probabilities: Tensor,
    labels: Tensor,
    samples: Sequence[Sample],
    splits: Splits,
    names: Sequence[str],
) -> list[SuspectLabel]:
    split_of = {sample.row: split for split, those in splits.items() for sample in those}
    return [
        SuspectLabel(
            key=samples[index].key,
            split=split_of[samples[index].row],
            label=names[samples[index].label],
            suggested=names[suggested],
            label_probability=round(float(probabilities[index, labels[index]]), 4),
            suggested_probability=round(float(probabilities[index, suggested]), 4),
            margin=round(margin, 4),
        )
        for index, suggested, margin in contradicted(probabilities, labels)
    ]
