"""The starter recipe that `recipe init` writes."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template

from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.load import from_text
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.targets import catalog

TEMPLATE = Path(__file__).parent / "templates" / "starter.yaml"

DEFAULT_NAME = "my-model"

LOCATIONS = {
    "folder": "  path: images # one folder per class; split into train and test\n",
    "parquet": "  path: data/*.parquet # columns image and label; split into train and test\n",
    "webdataset": "  path: shards/*.tar # split into train and test\n",
    "elpv": "",
}


def write(path: Path, source: str, target: str, name: str = DEFAULT_NAME) -> None:
    """Write a commented recipe for `source` and `target` to `path`, which must not exist.

    Raises:
        RequestError: the source or target is unknown, the name is not valid, or `path` exists.
    """
    if source not in LOCATIONS:
        raise RequestError(
            f"There is no data source {source!r}.", advice=did_you_mean(source, LOCATIONS)
        )
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        source=source,
        location=LOCATIONS[source],
        prompts="electroluminescence" if source == "elpv" else "general",
        target=catalog.get(target).name,
        name=json.dumps(name) if name != DEFAULT_NAME else name,
    )
    from_text(text, path)
    write_new(path, text)


def write_new(path: Path, text: str) -> None:
    """Write `text` to `path`.

    Raises:
        RequestError: `path` exists; it is not changed.
    """
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise RequestError(
            "This file already exists and was not changed.",
            where=str(path),
            advice="Name another file: tmkd-deploy recipe init NEW.yaml",
        ) from error
