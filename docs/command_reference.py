"""Describes every command of the program in Markdown, from the program itself. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from tmkd_deploy.cli.main import PROGRAM, app

MARK = "<!-- commands -->"


def render() -> str:
    """One section for each command, in the order in which `--help` lists them."""
    return "\n".join(_group(typer.main.get_command(app), PROGRAM))


def _group(group: Any, path: str) -> Iterator[str]:
    for name in group.list_commands(None):
        command = group.commands[name]
        yield from _command(command, f"{path} {name}")
        if hasattr(command, "commands"):
            yield from _group(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    words = path.split()[1:]
    yield f"{'#' * (len(words) + 1)} `{' '.join(words)}`\n"
    yield from (f"{_escaped(each)}\n" for each in (command.help or "").split("\n\n"))
    subcommands = list(getattr(command, "commands", ()))
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = [path, *(_metavar(each) for each in arguments)]
    usage += ["[OPTIONS]"] if options else []
    usage += ["COMMAND"] if subcommands else []
    yield f"```\n{' '.join(usage)}\n```\n"
    rows = [(_metavar(each), each) for each in arguments]
    rows += [(_flags(each), each) for each in options]
    shown = [(name, each) for name, each in rows if not getattr(each, "hidden", False)]
    if shown:
        yield "| Argument or option | Default | Meaning |\n|---|---|---|"
        for name, each in shown:
            yield f"| `{name}` | {_default(each)} | {_escaped(each.help or '')} |"
        yield ""


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _flags(option: Any) -> str:
    flags = ", ".join([*option.opts, *option.secondary_opts])
    return flags if option.is_flag else f"{flags} {option.metavar or option.name.upper()}"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default is None or callable(parameter.default) or parameter.default is False:
        return "–"
    return f"`{parameter.default}`"


def _escaped(text: str) -> str:
    """`text` on one line, with nothing in it that Markdown or HTML would take for markup."""
    return " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|")
