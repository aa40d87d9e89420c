"""One thing that `doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    `wrong` hinders what is asked, `absent` only what nobody asked for, `slow` works but badly;
    `remedy` is the command or advice that mends it.
    """

    subject: str
    state: Literal["good", "wrong", "absent", "slow"]
    found: str
    remedy: str = ""
