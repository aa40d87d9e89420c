"""The engines of a bundle, and the one that runs here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tmkd_deploy.runtime import installed_engines, runtimes
from tmkd_deploy.runtime.archive import Contents, broken
from tmkd_deploy.runtime.bundle_errors import BundleError, RuntimeMissingError
from tmkd_deploy.runtime.cores import available_cores
from tmkd_deploy.runtime.engine_errors import (
    EngineError,
    NoClassifierError,
    RejectedEngineError,
    RuntimeUnusableError,
)
from tmkd_deploy.runtime.installed_engines import BuildKey
from tmkd_deploy.runtime.manifest_engine import BundledEngine
from tmkd_deploy.runtime.onnx_check import UnsafeModelError
from tmkd_deploy.runtime.session_options import SessionOptions

Source = Literal["bundle", "installed"]


class Engine:
    """A session that maps raw pixels to logits; safe to share between threads.

    Attributes:
        description: the engine in the manifest.
        source: where it is from: the `bundle`, or `installed` on this machine for it.
        note: what to know of how it runs here, as a sentence; empty if there is nothing.
    """

    def __init__(
        self,
        contents: Contents,
        description: BundledEngine,
        session: runtimes.Session,
        source: Source,
    ) -> None:
        manifest = contents.manifest
        self.description = description
        self.source: Source = source
        self._path = contents.path
        self._session = session
        self._classes = len(manifest.class_names)
        if (session.input_shape, session.classes) != (
            (manifest.height, manifest.width, 3),
            self._classes,
        ):
            raise _other_ends(contents)
        problem = getattr(session, "graph_problem", None)
        self.note = (
            f"The engine runs without a CUDA graph, which takes longer. {problem}"
            if problem
            else ""
        )

    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Compute finite logits.

        Args:
            images: raw RGB pixels, uint8 [n, height, width, 3], n >= 1.

        Returns:
            float32 [n, classes].

        Raises:
            BundleError: the engine fails, or returns logits of another shape or that are not
                finite.
        """
        try:
            logits = self._session.infer(images)
        except EngineError as error:
            raise broken(self._path, f"its engine fails ({_within(error.problem)})") from error
        # what a model declares is not always what it returns
        if logits.shape != (len(images), self._classes) or logits.dtype != np.float32:
            raise broken(
                self._path,
                f"its engine returns {logits.dtype} in an array of shape {list(logits.shape)} for "
                f"{len(images)} {'image' if len(images) == 1 else 'images'} and {self._classes} "
                "classes",
            )
        if not np.isfinite(logits).all():
            raise broken(self._path, "its engine returns logits that are not finite")
        return logits


def open_best(contents: Contents, *, threads: int | None = None) -> Engine:
    """Open the first engine of a bundle that runs here.

    Args:
        contents: the checked bundle.
        threads: as for `load`.

    Raises:
        RuntimeMissingError: this machine or this version of tmkd-deploy can run none of them.
        BundleError: an engine cannot be opened or does not match the manifest.
    """
    refused: list[tuple[BundledEngine, RuntimeMissingError]] = []
    for description in contents.manifest.engines:
        try:
            return open_engine(contents, description, threads=threads)
        except RuntimeMissingError as error:
            refused.append((description, error))
    if len(refused) == 1:
        raise refused[0][1]
    reasons = (f"{title_of(engine)}: {error.problem}" for engine, error in refused)
    raise RuntimeMissingError(
        f"None of this bundle's {len(refused)} engines runs here. {' '.join(reasons)}",
        where=str(contents.path),
        advice=" ".join(dict.fromkeys(error.advice for _, error in refused)),
    )


def open_engine(
    contents: Contents, description: BundledEngine, *, threads: int | None = None
) -> Engine:
    """Open one engine of a bundle; as `open_best`."""
    runtime = runtimes.RUNTIMES.get(description.runtime)
    if runtime is None:
        raise RuntimeMissingError(
            f"This bundle needs the runtime {description.runtime!r}, which this version of "
            "tmkd-deploy does not know.",
            where=str(contents.path),
            advice="Update tmkd-deploy: pip install -U tmkd-deploy",
        )
    try:
        return _open(contents, description, runtime, threads)
    except ImportError as error:
        raise RuntimeMissingError(
            f"This bundle needs {runtime.title}, which cannot be imported here ({error}).",
            where=str(contents.path),
            advice=f"Install it with: {runtime.install}",
        ) from error
    except UnsafeModelError as error:
        raise broken(contents.path, f"its engine {error.what}") from error
    except RuntimeUnusableError as error:
        raise RuntimeMissingError(
            error.problem, where=str(contents.path), advice=error.advice
        ) from error
    except NoClassifierError as error:
        raise _other_ends(contents) from error
    except EngineError as error:
        if runtime.machine is not None:
            advice = installing(contents) if description.build else error.advice
            where = str(contents.path)
            raise RuntimeMissingError(error.problem, where=where, advice=advice) from error
        what = f"{runtime.title} cannot open its engine ({_within(error.problem)})"
        raise broken(contents.path, what) from error


def _open(
    contents: Contents,
    description: BundledEngine,
    runtime: runtimes.Runtime,
    threads: int | None,
) -> Engine:
    """Open the first candidate that the runtime does not reject.

    Raises:
        BundleError: there is no candidate, or an engine does not match the manifest.
        ImportError, UnsafeModelError, EngineError: as `runtimes.open_session`.
    """
    available = available_cores()
    threads = threads or min(description.threads or available, available)
    rejected: RejectedEngineError | None = None
    for found in _candidates(contents, description, runtime):
        options = SessionOptions(threads, dla_core=found.dla_core)
        try:
            session = runtimes.open_session(description.runtime, found.content, options)
        except NoClassifierError:
            raise
        except RejectedEngineError as error:
            rejected = error
        else:
            return Engine(contents, description, session, found.source)
    raise rejected or _for_another_machine(contents, description, runtime)


def title_of(engine: BundledEngine) -> str:
    """An engine in a few words."""
    runtime = runtimes.RUNTIMES.get(engine.runtime)
    title = runtime.title if runtime else engine.runtime
    return f"{engine.precision.upper()} with {title} for {engine.target}"


def installing(contents: Contents) -> str:
    """The advice to build the bundle's engines on this machine."""
    return f"Build it on the machine that runs it: tmkd-deploy bundle install {contents.path}"


def build_key(contents: Contents, engine: BundledEngine) -> BuildKey | None:
    """What an installed engine is found by; None if it cannot be built from the bundle."""
    recipe = engine.build
    if recipe is None:
        return None
    return BuildKey(
        runtime=engine.runtime,
        onnx_sha256=contents.manifest.files[recipe.onnx].sha256,
        precision=recipe.precision,
        typing=recipe.typing,
        workspace_mb=recipe.workspace_mb,
        dla_core=recipe.dla_core,
    )


class _Found(NamedTuple):
    """An engine's bytes, where they are from, and the DLA core that runs them."""

    content: bytes
    source: Source
    dla_core: int | None = None


def _candidates(
    contents: Contents, engine: BundledEngine, runtime: runtimes.Runtime
) -> Iterator[_Found]:
    """The engine in the bundle if it is for this machine, then the one installed here.

    Raises:
        ImportError, RuntimeUnusableError: as `runtimes.open_session`.
    """
    content = contents.members[engine.engine]
    if runtime.machine is None:
        yield _Found(content, "bundle")
        return
    machine, made_for = runtime.machine(engine.runtime), engine.made_for
    if made_for and machine.runs(made_for.release, made_for.compute_capability):
        yield _Found(content, "bundle", made_for.dla_core)
    key = build_key(contents, engine)
    plan = installed_engines.find(key, machine) if key else None
    if key and plan is not None:
        yield _Found(plan, "installed", key.dla_core)


def _for_another_machine(
    contents: Contents, engine: BundledEngine, runtime: runtimes.Runtime
) -> BundleError:
    assert runtime.machine is not None  # other runtimes have a candidate
    here, there, title = runtime.machine(engine.runtime), engine.made_for, runtime.title
    made = (
        f"was made for {title} {there.release} and a GPU of compute capability "
        f"{there.compute_capability}"
        if there
        else "does not say for which release and GPU it was made"
    )
    return RuntimeMissingError(
        f"The engine {made}; this machine has {title} {here.release} and a GPU of compute "
        f"capability {here.compute_capability}.",
        where=str(contents.path),
        advice=installing(contents)
        if engine.build
        else "Make the bundle again with this version of tmkd-deploy, which includes what it takes "
        "to build the engine here.",
    )


def _other_ends(contents: Contents) -> BundleError:
    return broken(contents.path, "its engine's input and output do not match its manifest")


def _within(problem: str) -> str:
    """A sentence as part of another one."""
    return problem.removesuffix(".")
