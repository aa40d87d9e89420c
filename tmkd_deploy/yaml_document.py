"""YAML read into plain values, with the place of every key, and written back."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import yaml

from tmkd_deploy.errors import RequestError
from tmkd_deploy.printable import is_printable, printable

KeyPath = tuple[str | int, ...]

NODES_AT_MOST = 20_000  # an alias repeats its nodes, so this also stops alias bombs
KEYS_AT_MOST = 2_000
DEPTH_AT_MOST = 32
LONGEST_KEY = 100

FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
FLOAT_FIRST = list("-+.0123456789")
TAG = "tag:yaml.org,2002:"
PLAIN_TAGS = {TAG + kind for kind in ("map", "seq", "str", "null", "bool", "int", "float")}


class _TooLargeError(yaml.MarkedYAMLError):
    """More nodes, keys or levels than allowed."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core scalars: `no` and dates are text, `1e-3` is a number.

    Counts while it reads, so that a large document is refused before all of it was read.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._keys = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Read one node and those in it."""
        self._nodes += 1
        self._keys += isinstance(parent, yaml.MappingNode) and index is None
        self._depth += 1
        for count, limit, problem in (
            (self._nodes, NODES_AT_MOST, f"It has more than {NODES_AT_MOST} values."),
            (self._keys, KEYS_AT_MOST, f"It has more than {KEYS_AT_MOST} keys."),
            (self._depth, DEPTH_AT_MOST + 1, "It is nested too deeply."),
        ):
            if count > limit:
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise _TooLargeError(problem=problem, problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes text that would otherwise be read back as another value."""


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789")),
    ("float", FLOAT, FLOAT_FIRST),
):
    _Loader.add_implicit_resolver(TAG + _kind, _pattern, _first)
_Dumper.add_implicit_resolver(TAG + "float", FLOAT, FLOAT_FIRST)  # 1e-3, which YAML 1.1 calls text


@dataclass(frozen=True)
class Span:
    """Start and end of a key and of its value in the text, anchors and tags included."""

    key: tuple[int, int]
    value: tuple[int, int]


@dataclass
class Document:
    """Plain values, the line (from 1) of each key and item, and the place of each key's text."""

    value: Any
    lines: dict[KeyPath, int]
    spans: dict[KeyPath, Span]


def parse(text: str, source: str) -> Document:
    """Read YAML `text`; errors give `source` as its origin.

    Raises:
        RequestError: it is not valid YAML, repeats a key, uses a custom tag, or is larger than
            `NODES_AT_MOST`, `KEYS_AT_MOST`, `DEPTH_AT_MOST` and `LONGEST_KEY` allow.
    """
    reader = _Reader(source)
    try:
        root = yaml.compose(text, Loader=_Loader)
        value = None if root is None else reader.value(root, ())
    except _TooLargeError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _refused(f"{source}:{line}", str(error.problem)) from error
    except RecursionError as error:
        raise _refused(source, "It is nested too deeply.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        problem = error.problem or error.context
        raise RequestError(
            f"This is not valid YAML: {problem}.",
            where=where,
            advice="Check the indentation, colons and quotes around that line.",
        ) from error
    except yaml.YAMLError as error:
        raise _refused(source, "It contains characters that YAML does not allow.") from error
    return Document(value, reader.lines, reader.spans)


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[KeyPath, int] = {}
        self.spans: dict[KeyPath, Span] = {}
        self.nodes = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.nodes += 1
        where = f"{self.source}:{node.start_mark.line + 1}"
        if self.nodes > NODES_AT_MOST or len(path) > DEPTH_AT_MOST:
            raise _refused(where, "It is nested too deeply or repeats its aliases too often.")
        if node.tag not in PLAIN_TAGS:
            raise _refused(where, f"The tag {node.tag!r} is not allowed.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, path)
        return _scalar(node.tag.removeprefix(TAG), str(node.value), where)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = str(key_node.value)
            place = (*path, key)
            if not isinstance(key_node, yaml.ScalarNode) or key == "<<":
                raise _refused(
                    f"{self.source}:{line}",
                    "Keys must be plain words; merge keys are not supported.",
                )
            if len(key) > LONGEST_KEY or not is_printable(key):
                raise _refused(
                    f"{self.source}:{line}",
                    f"Keys must be plain words of at most {LONGEST_KEY} characters, unlike "
                    f'"{printable(key, 40)}".',
                )
            if key in values:
                raise RequestError(
                    f'The key "{key}" is given twice, first in line {self.lines[place]}.',
                    where=f"{self.source}:{line} ({dotted(place)})",
                    advice="Remove one of them.",
                )
            self.lines[place] = line
            self.spans[place] = Span(_span(key_node), _span(value_node))
            values[key] = self.value(value_node, place)
        return values

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        values = []
        for index, item in enumerate(node.value):
            place = (*path, index)
            self.lines[place] = item.start_mark.line + 1
            values.append(self.value(item, place))
        return values


def _span(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index


def _scalar(kind: str, text: str, where: str) -> Any:
    try:
        text.encode()  # refuses lone surrogates
        if kind == "null":
            return None
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "int":
            return int(text)
        if kind == "float":
            return _finite(text)
    except (KeyError, ValueError) as error:
        raise _refused(where, f"{text!r} is not a valid value here.") from error
    return text


def to_yaml(value: Any) -> str:
    """YAML from which `parse` reads `value` again."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Only double quotes escape what YAML takes for a line break, such as U+0085.
    return dumper.represent_scalar(TAG + "str", text, None if text.isprintable() else '"')


_Dumper.add_representer(str, _text)


def dotted(path: KeyPath) -> str:
    """`path` as people write it: `targets[0].budgets.accuracy`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _refused(where: str, problem: str) -> RequestError:
    return RequestError(
        problem,
        where=where,
        advice="Write plain keys and values as in docs/reference/recipe.md.",
    )
