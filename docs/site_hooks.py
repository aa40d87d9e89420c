"""MkDocs hooks: links to files outside `docs/`, the command-line reference, no remote resources."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import command_reference

ROOT = Path(__file__).parents[1]
# "example-org" is a placeholder until the project has a public home
REPOSITORY = "https://github.com/example-org/tmkd-deploy"
LOG = logging.getLogger("mkdocs.hooks.site")
LINK = re.compile(r"\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)]*)?\)")
# what a browser would fetch on its own; links to click on are fine
REMOTE = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon))"
    r"[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>"
)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill in what a page leaves to be generated, and point it at the repository's own files."""
    folder = Path(page.file.abs_src_path).parent
    filled = markdown.replace(command_reference.MARK, command_reference.render())
    return LINK.sub(lambda link: _from_site(link, folder), filled)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Warn, which fails a strict build, where a page would load something from the network."""
    for tag in REMOTE.findall(output):
        LOG.warning("%s loads a remote resource: %s", page.file.src_uri, tag)
    return output


def _from_site(link: re.Match[str], folder: Path) -> str:
    """Links to files of the repository that are not pages go to where the repository is hosted."""
    target = Path(os.path.normpath(folder / link["path"]))
    is_page = target.is_relative_to(ROOT / "docs")
    if is_page or not target.is_relative_to(ROOT) or not target.exists():
        return link[0]  # MkDocs reports what does not exist
    kind = "tree" if target.is_dir() else "blob"
    place = target.relative_to(ROOT).as_posix()
    return f"]({REPOSITORY}/{kind}/main/{place}{link['anchor'] or ''})"
