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
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.latency import Latency
from tmkd_deploy.records.logits import Logits, LogitsError
from tmkd_deploy.records.measurements import EngineFile, Unusable
from tmkd_deploy.records.types import FloatPrecision, Precision
from tmkd_deploy.runtime.decision import Decision


class CheckedEngines:
    """Checks engines, those of one ONNX file after the other.

    `final` has the ledger's entry on each usable engine by its name, or on its ONNX file if nothing
    runs the engine; `entries` are all of them, and `unusable` says of each other engine why
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
        self.final: dict[str, Entry] = {}
        self.entries: list[Entry] = []
        self.unusable: dict[str, Unusable] = {}
        self._record = record
        self._data = data
        self._split: Split = split
        self._bench = bench
        self._guard = guard
        self._events = events

    def check(self, engines: Sequence[EngineFile], onnx: Path) -> None:
        """Run the engines of one precision and the ONNX file that they were built from.

        An engine of a file whose own logits are not finite is unusable, whatever it answers: what
        it answers depends on which values the runtime happens to keep in a wider type.
        """
        precision = engines[0].precision
        names = [engine.name for engine in engines]
        with self._refusing(names, precision, self._arithmetic(engines[0])):
            logits, decision = self._decided(
                f"the {precision.upper()} ONNX file",
                lambda split: [reference_logits(onnx, self._data.images(split))],
            )
            row = f"onnx-{precision}"
            origin = "fake_quantized" if precision == "int8" else "student"
            label = f"ONNX, {precision.upper()}"
            of_file = Entry(row, "onnx", precision, label, logits, origin, decision=decision)
            if self._bench is None:
                self.final |= dict.fromkeys(names, of_file)
                self.entries.append(of_file)
                return
            of_engines = self._run(engines, self._bench, row)
            if of_engines:
                self.final |= of_engines
                self.entries += [of_file, *of_engines.values()]

    def _run(self, engines: Sequence[EngineFile], bench: Bench, row: str) -> dict[str, Entry]:
        """The entries of the usable `engines`; `row` is that of the file they were built from."""
        found = {}
        for engine in engines:
            title, target = engine_title(engine.name), self._record.target
            with self._refusing([engine.name], engine.precision, self._arithmetic(engine)):
                logits, decision = self._decided(
                    f"the {title} engine for {target}", self._answers(bench, engine.name)
                )
                found[engine.name] = Entry(
                    engine.name,
                    "engine",
                    engine.precision,
                    f"{title} engine, {target}",
                    logits,
                    row,
                    decision=decision,
                    runtime=engine.runtime,
                )
        return found

    def latency(self, seed: int) -> Latency | None:
        """Time the usable engines; None if nothing runs them.

        The teacher and the alternative quantizations are checked first: the teacher on the images
        that it is timed with, the others on all, for the ledger.
        """
        if self._bench is None:
            return None
        checked: dict[str, Logits] = {name: entry.logits for name, entry in self.final.items()}
        built = {engine.name for engine in self._record.engines}
        for name in self._bench.engines_under_test:
            if name in built:
                continue
            label = self._bench.engines_under_test[name].label
            with self._refusing([name], "fp32" if name == TEACHER else "int8", "fp32"):
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
        decisions: dict[str, Decision | None] = {
            name: entry.decision for name, entry in self.final.items()
        }
        return self._bench.latency(checked, self._split, seed, decisions)

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
    def _refusing(
        self, names: Sequence[str], precision: Precision, computes_in: FloatPrecision
    ) -> Iterator[None]:
        """Record engines as unusable where their logits are refused."""
        try:
            yield
        except LogitsError as error:
            found = unusable(error, self._record.target, precision, computes_in)
            self.unusable |= dict.fromkeys(names, found)
            self._events.warn(found.reason)

    def _arithmetic(self, engine: EngineFile) -> FloatPrecision:
        if engine.precision == "int8":
            return runtime(engine.runtime or self._record.runtime).float_precision
        # BF16 has the range of FP32
        return "fp16" if engine.precision == "fp16" else "fp32"
