"""How much the views weigh in what the student learns, in words and as a table."""

from __future__ import annotations

from tmkd_deploy.records.distillation import ViewWeights
from tmkd_deploy.report import formatting
from tmkd_deploy.report.tables import CLASSES_LISTED, Table

_GUIDED_BY = {
    "label": "Views are scored by the text teacher on the label of their image, so the weights are "
    "guided by the label.",
    "prediction": "Views are scored by the text teacher on the class that it sees itself in their "
    "image, so the weights are guided by its prediction.",
    "nothing": "The recipe lets every view count alike; the text teacher does not weigh them.",
}


def guidance(weights: ViewWeights) -> str:
    """What the weights are guided by, in a sentence."""
    return _GUIDED_BY[weights.guided_by]


def by_class(weights: ViewWeights) -> Table:
    """Mean weights of each view over all training images and by class.

    Where classes are many, those are listed whose weights differ most from the mean over all.
    """
    views = list(weights.mean)

    def difference(name: str) -> float:
        return sum(abs(weights.mean_by_class[name][view] - weights.mean[view]) for view in views)

    names = list(weights.mean_by_class)
    rest = len(names) - CLASSES_LISTED
    more = ""
    if rest > 0:
        names = sorted(names, key=difference, reverse=True)[:CLASSES_LISTED]
        more = (
            f" The {CLASSES_LISTED} classes that differ most are listed; "
            f"the other {rest} are in summary.json."
        )
    rows = [("All classes", weights.mean), *((name, weights.mean_by_class[name]) for name in names)]
    return Table(
        f"Mean weight of each view over the training images.{more}",
        ["Class", *views],
        [[name, *(formatting.percent(mean[view]) for view in views)] for name, mean in rows],
        numeric=frozenset(range(1, len(views) + 1)),
    )
