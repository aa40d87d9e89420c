"""Check the arguments of the runtime API, except images."""

from __future__ import annotations

from pathlib import Path

from tmkd_deploy.runtime.bundle_errors import ArgumentError

MOST_THREADS = 256


def as_path(path: object) -> Path:
    """The path of a bundle.

    Raises:
        ArgumentError: it is not a str or Path.
    """
    if not isinstance(path, str | Path):
        raise ArgumentError(
            f"The path of a bundle must be a `str` or a `pathlib.Path`, not {_shown(path)}."
        )
    return Path(path)


def check_threads(threads: object) -> None:
    """Accept None and whole numbers from 1 to `MOST_THREADS`.

    Raises:
        ArgumentError: it is something else.
    """
    if threads is not None and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
        raise ArgumentError(
            f"`threads` must be a whole number from 1 to {MOST_THREADS} or None, "
            f"not {_shown(threads)}."
        )


def check_flag(name: str, flag: object) -> None:
    """Accept True and False.

    Raises:
        ArgumentError: it is something else.
    """
    if type(flag) is not bool:
        raise ArgumentError(f"`{name}` must be True or False, not {_shown(flag)}.")


def check_colour(colour: object) -> None:
    """Accept "RGB" and "BGR".

    Raises:
        ArgumentError: it is something else.
    """
    if type(colour) is not str or colour not in ("RGB", "BGR"):
        raise ArgumentError(f'`colour` must be `"RGB"` or `"BGR"`, not {_shown(colour)}.')


def as_list(images: object) -> list[object]:
    """The images of a batch.

    Raises:
        ArgumentError: it is not a list or tuple.
    """
    if not isinstance(images, list | tuple):
        raise ArgumentError(
            f"The images of a batch must be a list or tuple, not {_shown(images)}; "
            "classify one image with `predict`."
        )
    return list(images)


def _shown(value: object) -> str:
    """A short text for any object, whose own methods may fail or be slow."""
    if value is None or type(value) in (bool, float):
        return repr(value)
    if type(value) is int and abs(value) < 10**12:
        return repr(value)
    if type(value) is str and len(value) < 40:
        return ascii(value)
    return f"an object of type {type(value).__name__}"
