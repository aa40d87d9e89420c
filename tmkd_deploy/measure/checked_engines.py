"""The engines of a target, sorted into those with sound logits and those without."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tmkd_deploy.data.prepared import PreparedData, Split
from tmkd_deploy.engines.device_build import TEACHER
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.events import Events
from tmkd_deploy.export.export import reference_logits
from tmkd_deploy.measure.bench import TIMED_IMAGES, Bench
from tmkd_deploy.measure.ledger import Entry
from tmkd_deploy.measure.unusable import unusable
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.latency import Latency
from tmkd_deploy.records.logits import Logits, LogitsError
from tmkd_deploy.records.measurements import Unusable
from tmkd_deploy.records.types import PRECISIONS, FloatPrecision, Precision


class CheckedEngines:
    """Checks engines one by one.

    `final` are the logits of each usable precision, `entries` the ledger's on the engines,
    `unusable` says of each other engine why no figure is made of it.
    """

    def __init__(
        self,
        record: EngineRecord,
        data: PreparedData,
        split: Split,
        bench: Bench | None,
        events: Events,
    ) -> None:
        self.final: dict[Precision, Logits] = {}
        self.entries: list[Entry] = []
        self.unusable: dict[str, Unusable] = {}
        self._record = record
        self._data = data
        self._split: Split = split
        self._bench = bench
        self._events = events

    def check(self, precision: Precision, onnx: Path) -> None:
        """Run one engine and the ONNX file it was built from.

        An engine of a file whose own logits are not finite is unusable, whatever it answers: what
        it answers depends on which values the runtime happens to keep in a wider type.
        """
        name = precision.upper()
        with self._refusing(precision, precision):
            answers = [reference_logits(onnx, self._data.images(self._split))]
            final = reference = self._logits(answers, f"the {name} ONNX file")
            if self._bench is not None:
                final = self._logits(
                    self._bench.answers(precision, len(self._data.keys(self._split))),
                    f"the {name} engine for {self._record.target}",
                )
            row = f"onnx-{precision}"
            origin = "fake_quantized" if precision == "int8" else "student"
            self.final[precision] = final
            self.entries.append(Entry(row, "onnx", precision, f"ONNX, {name}", reference, origin))
            if self._bench is not None:
                label = f"{name} engine, {self._record.target}"
                self.entries.append(Entry(precision, "engine", precision, label, final, row))

    def latency(self, seed: int) -> Latency | None:
        """Time the usable engines; None if nothing runs them.

        The teacher and the alternative quantizations are checked first: the teacher on the images
        that it is timed with, the others on all, for the ledger.
        """
        if self._bench is None:
            return None
        checked: dict[str, Logits] = {}
        checked.update(self.final.items())
        for name in self._bench.engines_under_test:
            if name in PRECISIONS:
                continue
            label = self._bench.engines_under_test[name].label
            count = TIMED_IMAGES if name == TEACHER else None
            with self._refusing(name, "fp32" if name == TEACHER else "int8"):
                keys = self._data.keys(self._split)[:count]
                answers = self._bench.answers(name, len(keys))
                checked[name] = self._logits(answers, f"the {label}", keys)
                if name != TEACHER:
                    self.entries.append(
                        Entry(name, "post_training", "int8", label, checked[name], "student")
                    )
        return self._bench.latency(checked, seed)

    def _logits(
        self, answers: Sequence[np.ndarray], of: str, keys: Sequence[str] | None = None
    ) -> Logits:
        images = self._data.keys(self._split) if keys is None else keys
        return Logits(answers, of=of, images=images, classes=len(self._data.class_names))

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
