"""What a device may say. Nothing of it is trusted: here it is checked and made printable."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tmkd_deploy.devices.routes import SHOWN_CHARACTERS, printable
from tmkd_deploy.errors import EnvironmentProblem

_DEEPEST = 32
_MOST_DIGITS = 19  # of a signed integer of 64 bits
_LONGEST_TEXT = 2000
_SHOWN = ("code", "problem", "where", "advice", "text", "say", "unit")
END_OF_TIME = 253_402_300_799.0  # in the year 9999, the last that `datetime` knows

_Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class _Message(BaseModel):
    model_config = ConfigDict(strict=True)

    id: int


class _Hello(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["hello"]
    time: float = Field(ge=0, le=END_OF_TIME)


class _Error(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["error"]
    id: int | None = None  # none: it is not about a request
    code: str
    problem: str
    where: str | None = None
    advice: str


class _Result(_Message):
    type: Literal["result"]
    value: Any


class _Heartbeat(_Message):
    type: Literal["heartbeat"]


class _Progress(_Message):
    type: Literal["progress"]
    done: _Count
    total: _Count
    unit: str
    say: str | None = None


class _Text(_Message):
    type: Literal["say", "warn"]
    text: str


class _Ready(_Message):
    type: Literal["ready"]
    offset: _Count


class _Size(_Message):
    type: Literal["size"]
    bytes: _Count


class _Chunk(_Message):
    type: Literal["chunk"]
    offset: _Count
    data: str


_MESSAGES: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _Hello | _Error | _Result | _Heartbeat | _Progress | _Text | _Ready | _Size | _Chunk,
        Field(discriminator="type"),
    ]
)


class UnusableError(Exception):
    """Why a message cannot be used."""


def parse(line: bytes) -> dict[str, Any]:
    """The JSON object in a line: with all texts printable, and no number that is not finite.

    Raises:
        UnusableError: there is none, or it is nested too deeply.
    """
    try:
        message = json.loads(
            line, parse_constant=_refuse_number, parse_int=_integer, parse_float=_finite
        )
    except UnicodeDecodeError:
        raise UnusableError("it is not UTF-8") from None
    except (ValueError, RecursionError):
        raise UnusableError("it is not JSON") from None
    if not isinstance(message, dict):
        raise UnusableError("it is not a JSON object")
    cleaned: dict[str, Any] = _cleaned(message, _DEEPEST)
    for name in _SHOWN:
        if isinstance(text := cleaned.get(name), str):
            cleaned[name] = printable(text, _LONGEST_TEXT)
    return cleaned


def check(message: dict[str, Any]) -> None:
    """Require a message of a known type, with all of its fields.

    Raises:
        UnusableError: it is something else.
    """
    try:
        _MESSAGES.validate_python(message)
    except ValidationError as error:
        raise UnusableError(first_problem(error)) from None


def first_problem(error: ValidationError) -> str:
    """The first of the problems that were found, such as "value: Field required"."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return printable(f"{place}: {first['msg']}" if place else first["msg"], SHOWN_CHARACTERS)


def refuse(where: str, reason: str, line: bytes = b"") -> NoReturn:
    """Give up on a device that sent something else than an agent does.

    Raises:
        EnvironmentProblem: always.
    """
    begins = printable(line[: 4 * SHOWN_CHARACTERS].decode(errors="replace"), SHOWN_CHARACTERS)
    raise EnvironmentProblem(
        f"The device sent an answer that cannot be used: {reason}."
        + (f' It begins with "{begins}".' if begins else ""),
        where=where,
        advice="Run again. If this recurs, check which program `python3` is on the device, and "
        "its memory and disk.",
    )


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(text)


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        _refuse_number(text)
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_number(text)
    return number


def _cleaned(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, (dict, list)) and depth == 0:
        raise UnusableError("it is nested too deeply")
    if isinstance(value, dict):
        return {printable(name): _cleaned(each, depth - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_cleaned(each, depth - 1) for each in value]
    return value
