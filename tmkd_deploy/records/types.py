"""Names that the recipe and the method share; importable with nothing installed."""

from __future__ import annotations

from typing import Literal

View = Literal["rgb", "edge", "freq"]
VIEWS: tuple[View, ...] = ("rgb", "edge", "freq")

LogitLoss = Literal["kd", "dkd", "dist"]
Augment = Literal["none", "flip", "dihedral", "crop"]
