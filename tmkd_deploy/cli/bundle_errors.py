"""The errors of the runtime API, which imports nothing from the rest, as those of commands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tmkd_deploy.errors import DataError, EnvironmentProblem, RequestError


@contextlib.contextmanager
def bundle_errors() -> Iterator[None]:
    """Within it, an error of the runtime API becomes a `TmkdError`."""
    from tmkd_deploy.runtime.bundle_errors import (  # noqa: PLC0415
        ArgumentError,
        BundleError,
        RuntimeMissingError,
    )

    try:
        yield
    except RuntimeMissingError as error:
        raise EnvironmentProblem(error.problem, where=error.where, advice=error.advice) from error
    except BundleError as error:
        raise DataError(error.problem, where=error.where, advice=error.advice) from error
    except ArgumentError as error:
        raise RequestError(str(error), advice="Help: tmkd-deploy bundle --help") from error
