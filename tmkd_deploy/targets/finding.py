"""One check of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    `error`: a requirement is not met. `warning`: it works, but badly, or is unknown. `missing`: not
    installed, but not needed either. `remedy` is the command or advice that fixes it.
    """

    subject: str
    state: Literal["ok", "error", "missing", "warning"]
    found: str
    remedy: str = ""
