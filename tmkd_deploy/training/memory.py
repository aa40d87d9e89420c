"""Running out of memory: noticing it, and finding the batch that would have fitted."""

from __future__ import annotations

import contextlib
import gc
import resource
from collections.abc import Callable

import torch

from tmkd_deploy.errors import EnvironmentProblem

# what torch's allocator and oneDNN say on a CPU
_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "could not create a memory",
    "could not create a primitive",
    "could not execute a primitive",
)


def is_exhausted(error: BaseException) -> bool:
    """Whether `error` says that memory is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def peak_bytes(device: torch.device) -> int:
    """The most memory in use so far: of the GPU, or of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def explained(
    description: str, size: int, device: torch.device, attempt: Callable[[int], None] | None
) -> EnvironmentProblem:
    """The error to raise when a step with `size` images did not fit.

    `attempt` runs a whole step with a given number of images. It is tried with fewer and fewer, so
    that the size that is named has really run; without it (other processes take part in a step)
    half is named as the next to try.
    """
    peak = f"{peak_bytes(device) / 1e9:.2f} GB were in use at most"
    problem = f"The memory is used up by a batch of {size} images in {description!r}; {peak}."
    if attempt is None:
        advice = f"Set this stage's batch_size in the recipe to {size // 2} and try again."
    elif fitting := _largest(size, attempt):
        advice = (
            f"Set this stage's batch_size in the recipe to {fitting}: a step with so many images "
            "was tried just now and fits."
        )
    else:
        advice = (
            "Not even a step with two images fits: choose a smaller model or image size, or close "
            "other programs."
        )
    return EnvironmentProblem(problem, advice=advice)


def _largest(size: int, attempt: Callable[[int], None]) -> int | None:
    """The largest number of images that runs, to an eighth of `size`."""
    step = size // 2
    while step >= 2 and not _runs(attempt, step):
        step //= 2
    if step < 2:
        return None
    fitting = step
    for _ in range(2):
        step //= 2
        if step and _runs(attempt, fitting + step):
            fitting += step
    return fitting


def _runs(attempt: Callable[[int], None], images: int) -> bool:
    _let_go()
    try:
        attempt(images)
    except (RuntimeError, MemoryError) as error:
        if not is_exhausted(error):
            raise
        return False
    finally:
        _let_go()
    return True


def _let_go() -> None:
    gc.collect()
    with contextlib.suppress(RuntimeError):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
