"""What the checks work with: the device, the classifier's files, its engines, and their answers."""

from __future__ import annotations

import functools
import hashlib
import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tmkd_deploy.devices.device import Device
from tmkd_deploy.engines.device_build import tensorrt_release
from tmkd_deploy.engines.dla_model import for_dla
from tmkd_deploy.engines.tensorrt_typing import FLAGS_OPSET, Typing, dla_needs_cache, typing_of
from tmkd_deploy.measure.latency import latency_from
from tmkd_deploy.prove.built import Built, read_layers, read_logits
from tmkd_deploy.prove.images import striped
from tmkd_deploy.prove.outcome import NotRun
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.records.latency import Latency
from tmkd_deploy.records.onnx_model import INPUT
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import Precision, RuntimeName
from tmkd_deploy.targets import catalog
from tmkd_deploy.targets.resolve import profile_of
from tmkd_deploy.targets.target_profile import Software, TargetProfile

TEST_IMAGES = 100
_TIMED_IMAGES = 8
_LARGEST_TEXT = 4 << 20
# for a GPU it is large enough that its own time is more than that of starting it
_GPU_SIZE, _CPU_SIZE = (64, 64), (24, 32)


class Workbench:
    """One device under proof; its engines are built when a check first asks for them."""

    def __init__(self, device: Device, folder: Path, run: str) -> None:
        """`folder` is for files here; `run` is a word that no earlier proof had."""
        self.device = device
        self.folder = folder
        self.run = run
        self.seed = int(hashlib.sha256(run.encode()).hexdigest()[:8], 16)
        self._numbers = itertools.count(1)
        self._built: dict[tuple[Any, ...], Built | str] = {}

    @property
    def info(self) -> dict[str, Any]:
        """The device info, from the beginning of the proof."""
        return self.device.info

    @functools.cached_property
    def profile(self) -> TargetProfile | None:
        """The profile that `doctor` would check the device for."""
        name = profile_of(self.info)
        return catalog.get(name) if name else None

    @property
    def software(self) -> Software | None:
        """The release of the profile that the device has."""
        found = self.profile
        return found.release(self.info["jetpack"], self.info["l4t"]) if found else None

    @property
    def is_jetson(self) -> bool:
        """Whether the device is a Jetson."""
        return self.info["l4t"] is not None

    @functools.cached_property
    def board_files(self) -> dict[str, Any]:
        """The agent's `board_files`, requested once."""
        return self.device.request("board_files")

    @property
    def release(self) -> str:
        """The device's TensorRT release.

        Raises:
            NotRun: it has none.
        """
        found = tensorrt_release(self.info)
        if found is None:
            raise NotRun("This device has no TensorRT.")
        return found

    @property
    def typing(self) -> Typing:
        """How types are given to that release; raises as `release`."""
        return typing_of(self.release)

    @property
    def side(self) -> int:
        """The height and width of the classifier's images."""
        return self._size[1]

    @property
    def _size(self) -> tuple[int, int]:
        """The classifier's `width` and its side."""
        return _GPU_SIZE if self.info["gpu"] else _CPU_SIZE

    @functools.cached_property
    def test_images(self) -> Path:
        """A file of `TEST_IMAGES` images."""
        return self.images(TEST_IMAGES)

    def images(self, count: int) -> Path:
        """A new file of images, uint8 [count, side, side, 3]."""
        path = self.folder / f"images{next(self._numbers)}.npy"
        seed = self.seed + next(self._numbers)
        np.save(path, striped(count, self.side, seed), allow_pickle=False)
        return path

    def model(
        self,
        precision: Precision,
        scheme: QuantScheme,
        typing: Typing = "strong",
        width: int | None = None,
    ) -> Path:
        """A new ONNX file of the classifier, or of one with another `width`."""
        import onnx  # noqa: PLC0415 - needed only by builders

        from tmkd_deploy.prove import network, quantized  # noqa: PLC0415

        number = next(self._numbers)
        opset = network.OPSET if typing == "strong" else FLAGS_OPSET
        made = network.make(width or self._size[0], self.side)
        proto = quantized.typed(made, precision, scheme, opset, f"{self.run}-{number}")
        path = self.folder / f"{precision}-{typing}-{number}.onnx"
        onnx.save(proto, str(path))
        return path

    def tensorrt(self, precision: Precision, *, dla_core: int | None = None) -> Built:
        """TensorRT's engine of a precision, for the GPU or a DLA core, built once.

        Raises:
            NotRun: there is no TensorRT, or an earlier attempt to build this engine failed.
            TmkdError: this attempt fails.
        """
        key = ("tensorrt", precision, dla_core)
        found = self._built.get(key)
        if isinstance(found, str):
            raise NotRun(f"The {precision.upper()} engine could not be built: {found}")
        if found is None:
            self._built[key] = "see the claim that needed it first."
            cached = dla_core is not None and precision == "int8" and dla_needs_cache(self.release)
            typing = "flags" if cached else self.typing
            model = self.model(precision, QuantScheme.S8, typing)
            self._built[key] = found = self.build(precision, model, dla_core=dla_core)
        return found

    def build(
        self,
        precision: Precision,
        model: Path,
        *,
        dla_core: int | None = None,
        with_pairs: bool = False,
    ) -> Built:
        """Build with TensorRT from a file of `model`; for a DLA, from its file for one.

        `with_pairs` keeps the Q/DQ pairs where a calibration cache would replace them.

        Raises:
            NotRun, TmkdError: as `tensorrt`.
        """
        source, cache = model, None
        if dla_core is not None:
            source = model.with_suffix(".dla.onnx")
            cache = for_dla(model, precision, "11.0" if with_pairs else self.release, source)
        workspace = self.profile.workspace_mb if self.profile else None
        return self._request_build(
            "tensorrt",
            precision,
            model,
            source,
            calibration=None if cache is None else self.device.upload(cache),
            typing=self.typing,
            workspace_mb=workspace,
            dla_core=dla_core,
        )

    def onnxruntime(self, precision: Precision) -> Built:
        """ONNX Runtime's engine of a precision, for the device's processor.

        Raises:
            NotRun: the device has no ONNX Runtime.
            TmkdError: it rejects the file.
        """
        if self.info["onnxruntime"] is None:
            raise NotRun(f"This device has no ONNX Runtime: {self.info['pip']} onnxruntime")
        found = self._built.get(("onnxruntime", precision))
        if not isinstance(found, Built):
            model = self.model(precision, QuantScheme.U8)
            found = self._request_build("onnxruntime", precision, model, model)
            self._built["onnxruntime", precision] = found
        return found

    def _request_build(
        self, runtime: RuntimeName, precision: Precision, model: Path, source: Path, **more: Any
    ) -> Built:
        answer = self.device.request(
            "build",
            runtime=runtime,
            onnx=self.device.upload(source),
            precision=precision,
            height=self.side,
            width=self.side,
            input=INPUT,
            **more,
        )
        return Built(
            runtime,
            answer["engine"],
            model,
            answer["sidecar"],
            read_layers(self._text(answer["layers"]) or "[]"),
            self._text(answer["log"]).splitlines(),
            answer.get("reused") is True,
        )

    def logits(self, engine: str, runtime: str, images: Path) -> np.ndarray:
        """What an engine on the device answers for a file of images: [N, C].

        Raises:
            DataError: that is no array of the right length.
            TmkdError: the engine does not run.
        """
        answer = self.device.request(
            "predict",
            runtime=runtime,
            engine=engine,
            images=self.device.upload(images),
            threads=1,
            precise_int8=None,
        )
        path = self.folder / "logits.npy"
        self.device.download(answer["logits"], path)
        return read_logits(path, len(np.load(images, mmap_mode="r", allow_pickle=False)))

    def timed(self, engines: Mapping[str, Built], seconds: float) -> tuple[Latency, dict[str, Any]]:
        """Time engines in turns, for at least `seconds` each; the figures, and the raw times."""
        settings = Measure(warmup_seconds=0.5, min_runs=200, min_seconds=seconds, threads=1)
        raw = self.device.request(
            "measure",
            engines=[
                {
                    "name": name,
                    "runtime": each.runtime,
                    "engine": each.engine,
                    "precise_int8": None,
                }
                for name, each in engines.items()
            ],
            images=self.device.upload(self.images(_TIMED_IMAGES)),
            settings=settings.model_dump(),
        )
        return latency_from(raw, {name: name for name in engines}, settings, seed=0), raw

    def _text(self, sha256: str | None) -> str:
        """A text file of the device; empty if there is none."""
        if sha256 is None:
            return ""
        path = self.folder / "text"
        self.device.download(sha256, path)
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST_TEXT)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for a workbench's files."""
    return tempfile.TemporaryDirectory(prefix="tmkd-deploy-proof-")
