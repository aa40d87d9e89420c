"""What a check of the data finds."""

from __future__ import annotations

from typing import Literal

from tmkd_deploy.artifacts import Record

Severity = Literal["error", "warning", "note"]


class DataFinding(Record):
    """Something about the data that may spoil a result, what to do, and up to twenty examples.

    An `error` makes a verdict wrong, a `warning` may, and a `note` says what to expect.
    """

    kind: str
    severity: Severity
    problem: str
    advice: str
    examples: tuple[str, ...] = ()


class SimilarImages(Record):
    """Two images of one scene: keys, splits, classes, and the correlation of their thumbnails."""

    keys: tuple[str, str]
    splits: tuple[str, str]
    classes: tuple[str, str]
    correlation: float
    identical: bool


class ImageKinds(Record):
    """The source's images by format and by colour mode; width and height in pixels."""

    formats: dict[str, int]
    modes: dict[str, int]
    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    not_square: int


class SuspectLabel(Record):
    """An image whose label the probe contradicts, with the class that it suggests instead.

    The probabilities of both classes are out of fold. `margin`, in [-1, 1], is the normalised
    margin: the label's probability less the largest one of another class.
    """

    key: str
    split: str
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float
    margin: float


class LabelCheck(Record):
    """What a probe, a linear classifier on the features of `model`, says of `images` labels.

    Both accuracies are out of fold, in [0, 1], and None if no image was judged; `not_judged` counts
    the images whose class has no others that are independent of them. `suspects` are the labels to
    look at, the worst first; None if the probe is too weak to say.
    """

    model: str
    weights: str
    images: int
    not_judged: int
    accuracy: float | None
    balanced_accuracy: float | None
    suspects: list[SuspectLabel] | None


class DataCheckRecord(Record):
    """The images by split and class, and what is wrong with them, the worst first.

    `fold` is the number of the fold that the test split is, and how many there are; None if the
    test split is no fold.

    `similar` has the pairs of near-duplicates that were looked at, at most a hundred of the
    `similar_pairs` there are; both are None if the data set is too large to compare all pairs.
    `label_check` is None if nobody asked for it.
    """

    source: str
    class_names: list[str]
    counts: dict[str, dict[str, int]]
    fold: tuple[int, int] | None = None
    kinds: ImageKinds
    findings: list[DataFinding]
    similar: list[SimilarImages] | None
    similar_pairs: int | None
    label_check: LabelCheck | None = None

    @property
    def images(self) -> int:
        """The number of images in all splits."""
        return sum(sum(by_class.values()) for by_class in self.counts.values())

    @property
    def has_errors(self) -> bool:
        """Whether a verdict on these data would be wrong."""
        return any(finding.severity == "error" for finding in self.findings)
