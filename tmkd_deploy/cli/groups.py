"""Command groups that suggest corrections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from tmkd_deploy.errors import RequestError
from tmkd_deploy.suggestions import did_you_mean


class SuggestingGroup(TyperGroup):
    """Prints its help without arguments, and suggests the closest name of an unknown command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Treat no arguments as --help."""
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` starts with.

        Raises:
            RequestError: there is no such command.
        """
        name = args[0]
        if not name.startswith("-") and name not in self.commands:
            raise RequestError(
                f"{ctx.command_path} has no command {name!r}.",
                advice=f"{did_you_mean(name, self.commands)} Help: {ctx.command_path} --help",
            )
        return super().resolve_command(ctx, args)


class PackByDefault(SuggestingGroup):
    """`bundle` without a command, or followed by a recipe or an option, means `bundle pack`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `pack` unless a command or --help comes first, or a shell completes the line."""
        if not ctx.resilient_parsing and (not args or self._is_for_pack(args[0])):
            args = ["pack", *args]
        return super().parse_args(ctx, args)

    def _is_for_pack(self, first: str) -> bool:
        if first in self.commands or first in ("-h", "--help"):
            return False
        looks_like_a_file = "." in first or "/" in first or Path(first).exists()
        return first.startswith("-") or looks_like_a_file
