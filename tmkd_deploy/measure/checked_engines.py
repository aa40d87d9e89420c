"""The engines of a target, sorted into those with sound logits and those without."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tmkd_deploy.data.prepared import PreparedData, Split
from tmkd_deploy.engines.device_build import TEACHER
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.events import Events
from tmkd_deploy.export.reference import reference_logits
from tmkd_deploy.measure.bench import TIMED_IMAGES, Bench
from tmkd_deploy.measure.ledger import Entry
from tmkd_deploy.measure.threshold import Guard, decided
from tmkd_deploy.measure.unusable import unusable
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.latency import Latency
from tmkd_deploy.records.logits import Logits, LogitsError
from tmkd_deploy.records.measurements import Unusable
from tmkd_deploy.records.types import PRECISIONS, FloatPrecision, Precision
from tmkd_deploy.runtime.decision import Decision


class CheckedEngines:
    """Checks engines one by one.

    `final` has the ledger's entry on the engine of each usable precision, or on its ONNX file if
    nothing runs the engine; `entries` are all of them, and `unusable` says of each other engine why
    no figure is made of it.
    """

    def __init__(
        self,
        record: EngineRecord,
        data: PreparedData,
        split: Split,
        bench: Bench | None,
        guard: Guard | None,
        events: Events,
    ) -> None:
        self.final: dict[Precision, Entry] = {}
        self.entries: list[Entry] = []
        self.unusable: dict[str, Unusable] = {}
        self._record = record
        self._data = data
        self._split: Split = split
        self._bench = bench
        self._guard = guard
        self._events = events

    def check(self, precision: Precision, onnx: Path) -> None:
        """Run one engine and the ONNX file it was built from.

        An engine of a file whose own logits are not finite is unusable, whatever it answers: what
        it answers depends on which values the runtime happens to keep in a wider type.
        """
        name, target = precision.upper(), self._record.target
        with self._refusing(precision, precision):
            logits, decision = self._decided(
                f"the {name} ONNX file",
                lambda split: [reference_logits(onnx, self._data.images(split))],
            )
            row = f"onnx-{precision}"
            origin = "fake_quantized" if precision == "int8" else "student"
            label = f"ONNX, {name}"
            found = [Entry(row, "onnx", precision, label, logits, origin, decision=decision)]
            if self._bench is not None:
                logits, decision = self._decided(
                    f"the {name} engine for {target}", self._answers(self._bench, precision)
                )
                label = f"{name} engine, {target}"
                found.append(
                    Entry(precision, "engine", precision, label, logits, row, decision=decision)
                )
            self.final[precision] = found[-1]
            self.entries += found

    def latency(self, seed: int) -> Latency | None:
        """Time the usable engines; None if nothing runs them.

        The teacher and the alternative quantizations are checked first: the teacher on the images
        that it is timed with, the others on all, for the ledger.
        """
        if self._bench is None:
            return None
        checked: dict[str, Logits] = {name: entry.logits for name, entry in self.final.items()}
        for name in self._bench.engines_under_test:
            if name in PRECISIONS:
                continue
            label = self._bench.engines_under_test[name].label
            with self._refusing(name, "fp32" if name == TEACHER else "int8"):
                if name == TEACHER:
                    keys = self._data.keys(self._split)[:TIMED_IMAGES]
                    timed = self._bench.answers(name, self._split, len(keys))
                    checked[name] = self._logits(timed, f"the {label}", keys)
                    continue
                logits, decision = self._decided(f"the {label}", self._answers(self._bench, name))
                checked[name] = logits
                self.entries.append(
                    Entry(
                        name, "post_training", "int8", label, logits, "student", decision=decision
                    )
                )
        return self._bench.latency(checked, self._split, seed)

    def _answers(self, bench: Bench, name: str) -> Callable[[Split], Sequence[np.ndarray]]:
        return lambda split: bench.answers(name, split, len(self._data.keys(split)))

    def _decided(
        self, of: str, answers: Callable[[Split], Sequence[np.ndarray]]
    ) -> tuple[Logits, Decision | None]:
        def logits_on(split: Split) -> Logits:
            return self._logits(answers(split), of, self._data.keys(split))

        return decided(logits_on, self._split, self._guard)

    def _logits(self, answers: Sequence[np.ndarray], of: str, keys: Sequence[str]) -> Logits:
        return Logits(answers, of=of, images=keys, classes=len(self._data.class_names))

    @contextlib.contextmanager
    def _refusing(self, name: str, precision: Precision) -> Iterator[None]:
        """Record an engine as unusable where its logits are refused."""
        try:
            yield
        except LogitsError as error:
            self.unusable[name] = unusable(
                error, self._record.target, precision, self._arithmetic(name, precision)
            )
            self._events.warn(self.unusable[name].reason)

    def _arithmetic(self, name: str, precision: Precision) -> FloatPrecision:
        if precision == "int8" and name == precision:
            return runtime(self._record.runtime).float_precision
        return "fp16" if precision == "fp16" else "fp32"
