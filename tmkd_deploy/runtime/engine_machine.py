"""What a TensorRT plan is tied to: the release that built it and the kind of GPU."""

from __future__ import annotations

import re
from typing import NamedTuple


class EngineMachine(NamedTuple):
    """A runtime's release, such as 10.3.0.30, and a GPU's compute capability, such as 87."""

    release: str
    compute_capability: int

    def runs(self, release: str, compute_capability: int) -> bool:
        """Whether a plan of this release, for this compute capability, can run here."""
        return compute_capability == self.compute_capability and _same(release, self.release)


def _same(one: str, other: str) -> bool:
    """Whether two releases are the same as far as both say: 10.3.0 and 10.3.0.30 are."""
    numbers = [[int(number) for number in re.findall(r"\d+", each)] for each in (one, other)]
    length = min(map(len, numbers))
    return length >= 3 and numbers[0][:length] == numbers[1][:length]
