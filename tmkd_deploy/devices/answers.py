"""What the agent's results consist of, as far as the host relies on it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tmkd_deploy.devices.messages import END_OF_TIME, UnusableError, first_problem

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]
# TensorRT's, which decides the types of files and the arguments of builders
_Release = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3})+([^\d].*)?$", max_length=50)]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True)


class _Program(_Answer):
    version: _Release | None


class _Gpu(_Answer):
    name: str | None
    sm: str | None
    uuid: str | None
    memory_mb: _Count | None


class _DeniedFile(_Answer):
    path: str
    group: str


class _PowerMode(_Answer):
    id: int
    name: str


class _Clocks(_Answer):
    locked: bool | None
    governor: str | None


class _Probe(_Answer):
    machine: str
    system: str | None
    kernel: str
    python: str
    numpy: str | None
    onnxruntime: str | None
    openvino: str | None
    tensorrt: _Release | None
    tensorrt_rtx: str | None
    tensorrt_file: str | None
    import_errors: dict[str, str]
    pip: str
    trtexec: _Program | None
    cuda: str | None
    driver: str | None
    jetpack: str | None
    l4t: str | None
    model: str | None
    compatible: list[str]
    processor: str | None
    vnni: bool | None
    arm_dot_product: bool | None
    precise_int8: bool | None
    bf16: bool | None
    cores: _Count
    memory_mb: _Count | None
    memory_free_mb: _Count | None
    disk_free_mb: _Count
    gpu: _Gpu | None
    gpu_denied: _DeniedFile | None
    cuda_error: int | None
    dla_cores: _Count | None
    power_mode: _PowerMode | None
    clocks: _Clocks
    temperature_c: dict[str, float]
    throttled: bool | None
    power_rails: list[str]
    time: float = Field(ge=0, le=END_OF_TIME)


class _Dla(_Answer):
    gpu_fallback_layers: list[str]


class _BuiltWith(_Answer):
    runtime: Annotated[str, Field(pattern=r"^\d{1,5}(\.\d{1,9}){1,3}")]


class _BuiltFor(_Answer):
    sm: Annotated[str, Field(pattern=r"^(SM)?\d{2,3}$")] | None


class _Sidecar(_Answer):
    dla: _Dla
    versions: _BuiltWith
    device: _BuiltFor


class _Build(_Answer):
    engine: _Sha256
    sidecar: _Sidecar
    layers: _Sha256 | None
    log: _Sha256 | None


class _Predict(_Answer):
    logits: _Sha256


class _FindInstalled(_Answer):
    release: str
    compute_capability: _Count
    path: str | None


class _Install(_Answer):
    path: str


_Lines = Annotated[list[str], Field(max_length=40)]
_Readings = dict[str, Annotated[list[Annotated[float, Field(ge=0)]], Field(max_length=10_000)]]


class _BoardFiles(_Answer):
    nvpmodel: _Lines
    modes: _Lines
    release: _Lines
    compatible: _Lines
    has_nvidia_smi: bool
    is_root: bool


class _TrtexecTimes(_Answer):
    compute_ms: float = Field(gt=0)
    latency_ms: float | None
    command: _Lines
    lines: _Lines


class _KitBuild(_Answer):
    status: int
    engine: _Sha256 | None
    lines: _Lines


class _PowerComparison(_Answer):
    monitors: _Readings
    tegrastats: _Readings
    runs: _Count


class _ForeignEngine(_Answer):
    refused: str | None
    claimed: str
    here: str


class _CppRun(_Answer):
    status: int
    step: str
    lines: _Lines


_ANSWERS: dict[str, type[BaseModel]] = {
    "probe": _Probe,
    "build": _Build,
    "predict": _Predict,
    "find_installed": _FindInstalled,
    "install": _Install,
    "board_files": _BoardFiles,
    "trtexec_times": _TrtexecTimes,
    "kit_build": _KitBuild,
    "power_comparison": _PowerComparison,
    "foreign_engine": _ForeignEngine,
    "cpp_run": _CppRun,
}


def check(request: str, value: Any) -> dict[str, Any]:
    """The result of a request, if it is one.

    The times that `measure` returns are checked where they are evaluated.

    Raises:
        UnusableError: a field is missing, or of another type.
    """
    if not isinstance(value, dict):
        raise UnusableError("it is not a JSON object")
    if request in _ANSWERS:
        try:
            _ANSWERS[request].model_validate(value)
        except ValidationError as error:
            raise UnusableError(first_problem(error)) from None
    return value
