"""What a verdict means where the engine is used: how many of a hundred it gets wrong."""

from __future__ import annotations

from tmkd_deploy.proportions import share_interval
from tmkd_deploy.records.verdict import GateRecord

CLASSES_TOLD = 4


def cover(gate: GateRecord) -> list[str]:
    """Sentences for readers who decide, without terms of the trade.

    They tell of the class that must not be missed; if none is set, of each class, or of the worst
    ones if there are many. How the engine decides comes last.
    """
    confusion = gate.confusion
    if not any(map(any, confusion)):
        return ["Nobody has run this engine, so nothing is known of its mistakes."]
    names = gate.measurements.class_names
    known = [label for label, row in enumerate(confusion) if any(row)]
    if gate.guarded_class in names:
        told = [label for label in known if names[label] == gate.guarded_class]
    else:
        told = sorted(known, key=lambda each: confusion[each][each] / sum(confusion[each]))
        told = told[:CLASSES_TOLD]
    sentences = [_missed(names, confusion[label], label) for label in told]
    if gate.guarded_class in names:
        sentences += _false_alarms(names, confusion, names.index(gate.guarded_class))
    rest = 0 if gate.guarded_class in names else len(known) - len(told)
    if rest:
        sentences.append(f"The other {rest} classes are recognized more often.")
    return [*sentences, _decision(gate)]


def _missed(names: list[str], row: list[int], label: int) -> str:
    """How many of a hundred images of a class are taken for another."""
    total = sum(row)
    missed = total - row[label]
    others = [count for other, count in enumerate(row) if other != label]
    if len(names) == 2:
        taken = f'are taken for "{names[1 - label]}"'
    elif missed:
        most = max(
            (other for other in range(len(names)) if other != label), key=lambda each: row[each]
        )
        often = "always" if max(others) == missed else "most often"
        taken = f'are taken for another class, {often} for "{names[most]}"'
    else:
        taken = "are taken for another class"
    return _of_a_hundred(f'"{names[label]}"', missed, total, taken)


def _false_alarms(names: list[str], confusion: list[list[int]], guarded: int) -> list[str]:
    """How many of a hundred other images are taken for the class that must not be missed."""
    others = [row for label, row in enumerate(confusion) if label != guarded]
    total, taken = sum(map(sum, others)), sum(row[guarded] for row in others)
    which = f'"{names[1 - guarded]}"' if len(names) == 2 else "other"
    told = f'are taken for "{names[guarded]}"'
    return [_of_a_hundred(which, taken, total, told)] if total else []


def _of_a_hundred(which: str, count: int, total: int, told: str) -> str:
    low, high = share_interval(count, total)
    # where hardly any counts, a hundred would round it away
    of = 100 if count >= 0.01 * total else 1000
    share = f"{of * count / total:.0f} ({of * low:.0f} to {of * high:.0f})"
    return f"Of {of:,} {which} images, {share} {told} (measured on {total:,})."


def _decision(gate: GateRecord) -> str:
    if gate.threshold is not None and gate.guarded_class is not None:
        recall = gate.measurements.guarded_recall
        asked = f" for a recall of {recall:g}" if recall is not None else ""
        return (
            f'An image counts as "{gate.guarded_class}" from a score of {gate.threshold:.2g} '
            f"upwards, a threshold chosen on validation images{asked}."
        )
    if len(gate.measurements.class_names) == 2:
        return "Each image goes to the class with the higher score: the threshold is 0.5."
    return "Each image goes to the class with the highest score."
