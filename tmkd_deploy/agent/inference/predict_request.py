"""The `predict` request: an engine's logits on this device, one image at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.agent_errors import DATA, AgentError
from tmkd_deploy.agent.inference import sessions
from tmkd_deploy.agent.transport.context import cache_key
from tmkd_deploy.agent.transport.request_fields import field, optional

if TYPE_CHECKING:
    import numpy as np

    from tmkd_deploy.agent.transport.context import Context
    from tmkd_deploy.runtime.runtimes import Session


def predict(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Run every image through an engine; cached for the same engine, images and settings.

    Raises:
        AgentError: `data`: a file is missing or is not an array of images, or the engine's outputs
            are no array; otherwise as `open_session`.
        ImportError: the runtime or numpy is not installed.
    """
    runtime = field(request, "runtime", str)
    engine, images = field(request, "engine", str), field(request, "images", str)
    threads = field(request, "threads", int)
    precise_int8 = optional(request, "precise_int8", bool)
    key = cache_key(
        {
            "do": "predict",
            "runtime": runtime,
            "version": sessions.version(runtime),
            "engine": engine,
            "images": images,
            "threads": threads,
            "precise_int8": precise_int8,
        }
    )

    def make() -> dict[str, Any]:
        pixels = read_images(context.stored_file(images))
        session = sessions.open_session(runtime, context.stored_file(engine), threads, precise_int8)
        return {"logits": context.store_file(_logits(session, pixels, context))}

    return context.cached(key, make, files=("logits",))[0]


def read_images(path: Path) -> np.ndarray:
    """The memory-mapped images of a .npy file, uint8 [N, H, W, 3], N at least 1.

    Raises:
        AgentError: `data`: it holds something else.
        ImportError: numpy is not installed.
    """
    import numpy as np

    try:
        images: np.ndarray = np.load(str(path), mmap_mode="r", allow_pickle=False)
    # numpy parses the header as Python and raises whatever the tokenizer stumbles on
    except Exception as error:
        raise AgentError(DATA, f"The images cannot be read: {error}.", str(path)) from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise AgentError(
            DATA,
            f"The images must be uint8 [N, H, W, 3], and are {images.dtype} {list(images.shape)}.",
            str(path),
        )
    return images


def _logits(session: Session, images: np.ndarray, context: Context) -> Path:
    """A file of what the engine answers; whether it makes sense is for the host to judge."""
    import numpy as np

    logits = []
    for index in range(len(images)):
        logits.append(session.infer(np.ascontiguousarray(images[index : index + 1])))
        context.writer.progress(index + 1, len(images), "images")
    path = context.scratch() / "logits.npy"
    try:
        np.save(str(path), np.concatenate(logits), allow_pickle=False)
    except (ValueError, TypeError) as error:  # as of text, or of a different shape for each image
        raise AgentError(
            DATA,
            f"The engine's outputs are no logits: {error}.",
            advice="Build the engine from a classifier: uint8 images in, floating point out.",
        ) from error
    return path
