"""Custom profiles: the YAML files in the folder named by `$TMKD_DEPLOY_TARGETS`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tmkd_deploy.errors import RequestError
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.targets.target_profile import TargetProfile
from tmkd_deploy.yaml_document import Document, dotted, parse

FOLDER = "TMKD_DEPLOY_TARGETS"
SHOW = "Start from a valid one: tmkd-deploy targets show jetson-orin-nano"


def files(taken: set[str]) -> dict[str, Path]:
    """The custom profiles by name, which is the file's; empty if the variable is not set.

    Raises:
        RequestError: the folder does not exist, or a name is among `taken`.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise RequestError(
            "The folder of custom target profiles does not exist.",
            where=f"${FOLDER}={folder}",
            advice="Create it, or unset the variable.",
        )
    found = {path.stem: path for path in sorted(Path(folder).glob("*.yaml"))}
    for name, path in found.items():
        if name in taken:
            raise RequestError(
                f"A target named {name!r} already exists.",
                where=str(path),
                advice="Rename the file and change its `name`.",
            )
    return found


def read(path: Path) -> TargetProfile:
    """The checked profile in `path`.

    Raises:
        RequestError: it cannot be read or is invalid; the error names file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"The target profile cannot be read: {error}.",
            where=str(path),
            advice="Check its permissions, and save it as UTF-8.",
        ) from error
    document = parse(text, str(path))
    try:
        # Strict JSON, so that a quoted number is text, as in a recipe.
        profile = TargetProfile.model_validate_json(json.dumps(document.value), strict=True)
    except ValidationError as error:
        raise _refusal(error.errors()[0], document, path) from error
    if profile.name != path.stem:
        raise RequestError(
            f"The profile is named {profile.name!r}, but its file {path.stem!r}.",
            where=f"{path}:{document.lines[('name',)]} (name)",
            advice="Give both the same name.",
        )
    return profile


def _refusal(details: ErrorDetails, document: Document, path: Path) -> RequestError:
    location = details["loc"]
    known = [location[:length] for length in range(len(location), 0, -1)]
    line = next((document.lines[place] for place in known if place in document.lines), None)
    where = f"{path}:{line}" if line else str(path)
    key = str(location[-1]) if location else ""
    if details["type"] == "extra_forbidden":
        problem = f'There is no key "{key}" in a target profile.'
        advice = did_you_mean(key, TargetProfile.model_fields)
    elif details["type"] == "missing":
        problem, advice = f'The key "{key}" is missing.', SHOW
    else:
        problem = f"Invalid value: {details['msg'].removeprefix('Value error, ')}."
        advice = SHOW
    return RequestError(
        problem, where=f"{where} ({dotted(location)})" if location else where, advice=advice
    )
