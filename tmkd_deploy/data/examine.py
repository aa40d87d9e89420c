"""What may spoil a result: every check of the decoded images, their labels and their splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tmkd_deploy.data import findings
from tmkd_deploy.data.decode import Decoded
from tmkd_deploy.data.findings import Splits
from tmkd_deploy.data.image_kinds import image_kinds, read_headers
from tmkd_deploy.data.near_duplicates import MAX_IMAGES, NearDuplicates, find_near_duplicates
from tmkd_deploy.data.same_scene import Copies, tell_apart
from tmkd_deploy.data.samples import EncodedDataset, Sample
from tmkd_deploy.data.split_names import SPLITS
from tmkd_deploy.data.unused import described
from tmkd_deploy.events import Events
from tmkd_deploy.recipe.schema import Data, Fold
from tmkd_deploy.records.data_check import DataCheckRecord, DataFinding, SimilarImages

_MAX_PAIRS = 100
_ORDER = {"error": 0, "warning": 1, "note": 2}


def find_copies(decoded: Decoded, events: Events) -> Copies | None:
    """The copies among `decoded.samples`; None if there are too many images to compare."""
    if len(decoded.samples) > MAX_IMAGES:
        return None
    rows = [sample.row for sample in decoded.samples]
    return tell_apart(find_near_duplicates(decoded.images, rows, events), decoded.samples)


def kept_together(
    spec: Data, copies: Copies | None, samples: Sequence[Sample]
) -> list[tuple[str, str]]:
    """The copies that no split may divide, by the hashes of their pixels."""
    if copies is None or spec.near_duplicates == "ignore":
        return []
    return [(samples[pair.first].pixels, samples[pair.second].pixels) for pair in copies.pairs]


def examine(
    dataset: EncodedDataset,
    decoded: Decoded,
    splits: Splits,
    copies: Copies | None,
    events: Events,
    *,
    together: bool,
    fold: Fold | None,
    drops: Mapping[str, float] | None = None,
) -> DataCheckRecord:
    """Everything that may spoil a result, the worst first.

    Args:
        dataset: the source.
        decoded: its decoded images.
        splits: the samples of each split.
        copies: by position in `decoded.samples`; None if nobody looked for them.
        events: receives progress.
        together: whether the splits were drawn so that they divide no near-duplicates.
        fold: the fold that the test split is, if it is one.
        drops: budgets on a loss of accuracy in percentage points, by name.
    """
    samples, names = decoded.samples, dataset.class_names
    split_of = {sample.row: split for split in SPLITS for sample in splits[split]}
    headers = read_headers(dataset, events)
    similar = copies.pairs if copies else []
    found = [
        *_unused(dataset),
        *_unreadable(decoded),
        *findings.contradictory_labels(samples, names),
        *findings.leaks(similar, samples, split_of),
        *findings.look_alike(copies.alike if copies else (), names),
        *findings.repeated_scenes(similar, samples, together=together),
        *findings.similar_but_labelled_differently(similar, samples, names),
        *findings.imbalance(splits, names),
        *findings.too_few_for(drops or {}, len(splits["test"])),
        *findings.shortcuts(headers, dataset.labels, names),
    ]
    if copies is None:
        found.append(
            DataFinding(
                kind="not_compared",
                severity="note",
                problem=f"Near-duplicates were not looked for: the data set has more than "
                f"{MAX_IMAGES:,} images.",
                advice="Set 'data.group_by' if some images show the same scene.",
            )
        )
    return DataCheckRecord(
        source=dataset.origin,
        class_names=list(names),
        counts={
            split: {names[label]: count for label, count in sorted(counted.items())}
            for split in SPLITS
            for counted in [Counter(sample.label for sample in splits[split])]
        },
        fold=(fold.number, fold.of) if fold else None,
        kinds=image_kinds(headers),
        findings=sorted(found, key=lambda finding: _ORDER[finding.severity]),
        similar=_pairs(similar, samples, split_of, names) if copies else None,
        similar_pairs=len(similar) if copies else None,
    )


def _pairs(
    similar: list[NearDuplicates],
    samples: list[Sample],
    split_of: Mapping[int, str],
    names: list[str],
) -> list[SimilarImages]:
    """The pairs worth looking at first: across splits, then of different classes, then the rest."""

    def described(pair: NearDuplicates) -> SimilarImages:
        one, other = samples[pair.first], samples[pair.second]
        return SimilarImages(
            keys=(one.key, other.key),
            # images dropped from a split are in none
            splits=(split_of.get(one.row, "none"), split_of.get(other.row, "none")),
            classes=(names[one.label], names[other.label]),
            correlation=min(1.0, round(pair.correlation, 4)),
            identical=one.pixels == other.pixels,
        )

    pairs = [described(pair) for pair in similar]
    pairs.sort(
        key=lambda pair: (
            pair.splits[0] == pair.splits[1],
            pair.classes[0] == pair.classes[1],
            pair.identical,
        )
    )
    return pairs[:_MAX_PAIRS]


def _unused(dataset: EncodedDataset) -> list[DataFinding]:
    problem = described(dataset.unused)
    if problem is None:
        return []
    return [
        DataFinding(
            kind="unused_files",
            severity="warning",
            problem=problem,
            advice="Convert them to PNG or JPEG, move them into a class folder, or ignore this.",
        )
    ]


def _unreadable(decoded: Decoded) -> list[DataFinding]:
    if not decoded.unreadable:
        return []
    count = len(decoded.unreadable)
    return [
        DataFinding(
            kind="unreadable_images",
            severity="error",
            problem=f"{count:,} {'image' if count == 1 else 'images'} cannot be decoded.",
            advice="Repair or remove them, or raise 'data.max_corrupt_images' to skip them.",
            examples=tuple(f"{key}: {why}" for key, why in decoded.unreadable[: findings.EXAMPLES]),
        )
    ]
