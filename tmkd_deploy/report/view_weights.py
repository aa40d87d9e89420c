"""The weights of the views in distillation, in words and as a table."""

from __future__ import annotations

from tmkd_deploy.records.distillation import ViewWeights
from tmkd_deploy.report import formatting
from tmkd_deploy.report.tables import CLASSES_LISTED, Table

_GUIDED_BY = {
    "label": "The text teacher scores each view against the image's label, so the labels guide the "
    "weights.",
    "prediction": "The text teacher scores each view against the class it predicts for the image, "
    "so its predictions guide the weights.",
    "validation": "The weights of the views were fitted on the validation split and are the same "
    "for all images.",
    "nothing": "All views count equally.",
}
DECIDED = (
    "The fused teacher, as decided on the validation split by its mean negative log-likelihood "
    "(NLL):"
)


def guidance(weights: ViewWeights) -> str:
    """One sentence on what guides the weights."""
    return _GUIDED_BY[weights.guided_by]


def by_class(weights: ViewWeights) -> Table:
    """Mean weights of each view over all training images and by class.

    If there are many classes, only those that deviate most from the overall mean are listed.
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
            f" Only the {CLASSES_LISTED} classes that deviate most are listed; "
            f"the other {rest} are in summary.json."
        )
    rows = [("All classes", weights.mean), *((name, weights.mean_by_class[name]) for name in names)]
    return Table(
        f"Mean weight of each view over the training images.{more}",
        ["Class", *views],
        [[name, *(formatting.percent(mean[view]) for view in views)] for name, mean in rows],
        numeric=frozenset(range(1, len(views) + 1)),
    )
