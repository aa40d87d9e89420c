"""Models that installed packages offer, named `PACKAGE:NAME`.

A package offers a factory under the entry-point group `tmkd_deploy.models`. A recipe can name what
is installed, and runs nothing else.
"""

from __future__ import annotations

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.entry_points import entry_points
from tmkd_deploy.models.interface import Built, ModelSpec, WithoutPublishedWeights
from tmkd_deploy.models.own_module import call


class InstalledModels(WithoutPublishedWeights):
    """Factories of other packages, found by their metadata; a package is imported when used."""

    name = "the package"

    def names(self) -> list[str]:
        """The names of all factories that are installed."""
        return sorted(entry_points())

    def build(self, spec: ModelSpec) -> Built:
        """What the factory returns for the number of classes and (height, width)."""
        try:
            factory = entry_points()[spec.model].load()
        except Exception as error:  # its module may raise anything when it is imported
            raise RequestError(
                f"The factory of {spec.model!r} cannot be loaded: "
                f"{str(error) or type(error).__name__}.",
                advice="Repair the package that offers it.",
            ) from error
        return call(factory, spec)
