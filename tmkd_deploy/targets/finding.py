"""One check of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    `wrong` blocks what is requested, `absent` only what was not requested, and `slow` works, but
    badly; `remedy` is the command or advice that fixes it.
    """

    subject: str
    state: Literal["good", "wrong", "absent", "slow"]
    found: str
    remedy: str = ""
