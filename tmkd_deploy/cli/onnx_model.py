"""Commands that are given an ONNX file in place of a recipe."""

from __future__ import annotations

import dataclasses
import shlex

from tmkd_deploy.cli.options import StageOptions
from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.onnx_name import is_onnx_file


def with_recipe(options: StageOptions) -> StageOptions:
    """The options with a recipe, which is composed where an ONNX file was given.

    Raises:
        RequestError: `--data` was given with a recipe, or a dry run with a file alone.
        TmkdError: no recipe can be composed.
    """
    file = options.recipe
    if not is_onnx_file(file.name):
        if options.data is not None:
            raise RequestError(
                "The images of a recipe are in the recipe.",
                where="--data",
                advice="Omit it, or name an ONNX file in place of the recipe.",
            )
        return options
    if options.dry_run:
        raise RequestError(
            "A dry run needs a recipe, and writing one reads the images.",
            where=str(file),
            advice=f"Run: tmkd-deploy quantize {shlex.quote(str(file))} --data FOLDER",
        )
    from tmkd_deploy.cli import progress  # noqa: PLC0415
    from tmkd_deploy.pipeline.onnx_recipe import recipe_for  # noqa: PLC0415

    target = options.targets[0] if options.targets else "cpu"
    with progress.listener(options.quiet) as events:
        recipe = recipe_for(
            file, options.data, options.runs, target, options.overrides or (), events
        )
    return dataclasses.replace(options, recipe=recipe, data=None)
