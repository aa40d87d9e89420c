"""Candidates to ship, compared on the validation split; readable without torch."""

from __future__ import annotations

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.figures import AtLeastOne, Interval, NotNegative, Points, Share


class Candidate(Record):
    """A model on the validation split: top-1 in [0, 1], mean negative log-likelihood in nats."""

    top1: Share
    nll: NotNegative


class Gain(Record):
    """The top-1 that one model has over another on the same `images` of the validation split.

    `points` are percentage points with their paired 95 % interval; `p_value` comes from the exact
    McNemar test.
    """

    images: AtLeastOne
    points: Points
    interval: Interval
    p_value: Share
