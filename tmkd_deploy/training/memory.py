"""Running out of memory: detecting it, and finding the largest batch that fits."""

from __future__ import annotations

import contextlib
import gc
import resource
from collections.abc import Callable

import torch

from tmkd_deploy.errors import EnvironmentProblem

# messages of torch's allocator and of oneDNN on a CPU, and of CUDA and its libraries
_MESSAGES = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "could not create a memory",
    "could not create a primitive",
    "could not execute a primitive",
    "CUDA error: out of memory",
    "CUFFT_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_exhausted(error: BaseException) -> bool:
    """Whether `error` means that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def peak_bytes(device: torch.device) -> int:
    """Peak memory in bytes: what torch allocated on the GPU, or the process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux reports KiB


def out_of_memory(
    description: str, size: int, device: torch.device, try_step: Callable[[int], None] | None
) -> EnvironmentProblem:
    """The error to raise when a step with `size` images did not fit into memory.

    `try_step` runs a complete step with a given number of images. It is called with smaller and
    smaller batches, so that the suggested size is known to fit. Without it (a step that other
    processes take part in) half the size is suggested.
    """
    peak = f"peak use was {peak_bytes(device) / 1e9:.2f} GB"
    problem = f"Out of memory with a batch of {size} images in {description!r}; {peak}."
    if try_step is None:
        advice = f"Set this stage's batch_size in the recipe to {size // 2} and try again."
    elif fitting := _largest_fitting(size, try_step):
        advice = (
            f"Set this stage's batch_size in the recipe to {fitting}: a trial step with that many "
            "images fits."
        )
    else:
        advice = (
            "Even a step with two images does not fit: choose a smaller model or image size, or "
            "close other programs."
        )
    return EnvironmentProblem(problem, advice=advice)


def _largest_fitting(size: int, try_step: Callable[[int], None]) -> int | None:
    """The largest number of images that fits, to within an eighth of `size`."""
    step = size // 2
    while step >= 2 and not _fits(try_step, step):
        step //= 2
    if step < 2:
        return None
    fitting = step
    for _ in range(2):
        step //= 2
        if step and _fits(try_step, fitting + step):
            fitting += step
    return fitting


def _fits(try_step: Callable[[int], None], images: int) -> bool:
    _free_memory()
    try:
        try_step(images)
    except (RuntimeError, MemoryError) as error:
        if not is_exhausted(error):
            raise
        return False
    finally:
        _free_memory()
    return True


def _free_memory() -> None:
    gc.collect()
    with contextlib.suppress(RuntimeError):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
