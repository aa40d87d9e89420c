"""Manifests and arrays that are well-formed enough to be parsed, and made to harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_bundle import (
    COLOURS,
    SIDE,
    contents_of,
    npy,
    with_engine,
    with_manifest,
    with_member,
    write_zip,
)

from tmkd_deploy.cli.main import main
from tmkd_deploy.runtime import BundleError, load, verify


def refuses(path: Path, match: str) -> None:
    for use in (verify, load):
        with pytest.raises(BundleError, match=match) as caught:
            use(path)
        assert caught.value.problem.isprintable()
        assert len(caught.value.problem) < 300


def with_text(path: Path, old: str, new: str) -> Path:
    """The bundle with one place in the text of its manifest replaced."""
    members = contents_of(path)
    text = members["manifest.json"].decode()
    assert text.count(old) == 1
    members["manifest.json"] = text.replace(old, new).encode()
    return write_zip(path, list(members.items()))


@pytest.mark.parametrize("depth", [21, 900, 5000])
@pytest.mark.parametrize("pair", ["[]", '{"a": }'])
def test_a_deep_manifest(bundle: Path, depth: int, pair: str) -> None:
    deep = pair[:-1] * depth + "0" + pair[-1] * depth
    with_text(bundle, '"format_version"', f'"latency_of_mine": {deep}, "format_version"')
    refuses(bundle, "its manifest (has more than 20 levels|is not JSON)")
    assert main(["bundle", "show", str(bundle)]) == 5


@pytest.mark.parametrize(
    "number",
    ["9" * 31, pytest.param("9" * 10**5, id="huge"), "-" + "9" * 40, "1e999", "NaN", "-Infinity"],
)
@pytest.mark.parametrize("key", ["tolerance", "height", "format_version", "a new one"])
def test_a_number_that_is_too_long_or_none(bundle: Path, number: str, key: str) -> None:
    with_manifest(bundle, lambda document: document.update({"a new one": 1}))
    members = contents_of(bundle)
    text = members["manifest.json"].decode()
    start = text.index(f'"{key}": ') + len(f'"{key}": ')
    end = min(text.index(sign, start) for sign in ",}" if sign in text[start:])
    members["manifest.json"] = (text[:start] + number + text[end:]).encode()
    write_zip(bundle, list(members.items()))
    refuses(bundle, "its manifest has a number that is not finite or has too many digits")


def test_a_key_that_is_there_twice(bundle: Path) -> None:
    with_text(bundle, '"class_names"', '"class_names": ["a"], "class_names"')
    refuses(bundle, "its manifest has a key twice")


@pytest.mark.parametrize(
    "text",
    [
        *("\x1b]52;c;aGk=\x07", "two\nlines", "\x00", "\x7f", "\x9b31m", "\u2028", "\u202egnp.exe"),
        "\udc80",
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        lambda document, text: document.update(class_names=[*COLOURS[:2], text]),
        lambda document, text: document["engines"][0].update(runtime=text),
        lambda document, text: document.update({text: 1}),
        lambda document, text: document["engines"][0]["gate"]["checks"][0].update(explanation=text),
    ],
)
def test_a_text_with_control_codes(
    bundle: Path, text: str, place: Callable[[dict[str, Any], str], object]
) -> None:
    with_manifest(bundle, lambda document: place(document, text))
    refuses(bundle, "its manifest has a text with control codes")


@pytest.mark.parametrize("name", ["łódź", "می‌خواهم", "红 色", "no\u00a0break", "🟢"])
def test_names_of_all_languages_are_fine(bundle: Path, name: str) -> None:
    with_manifest(bundle, lambda document: document.update(class_names=[*COLOURS[:2], name]))
    assert load(bundle).class_names[2] == name


def test_a_text_without_end(bundle: Path) -> None:
    with_engine(bundle, lambda engine: engine.update(runtime="r" * 4097))
    refuses(bundle, "a text of more than 4096 characters")


@pytest.mark.parametrize("version", [1.0, True, "1", None, [1]])
def test_a_format_version_is_a_whole_number(bundle: Path, version: Any) -> None:
    with_manifest(bundle, lambda document: document.update(format_version=version))
    refuses(bundle, "'format_version' is missing or invalid")


HEADER = npy(np.zeros((3, SIDE, SIDE, 3), np.uint8))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "(" * 20,
            "{'descr': ",
            "'''",
            "if 1:\n\t1\n  2",
            "\\",
            "{'a': " * 15,
            "[" * 90,
            "\0",
            "()",
        ),
        "{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 9999999999, 999999999), }",
        "{'descr': '|u1', 'fortran_order': True, 'shape': (3, 8, 8, 3), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 8, 8, 3), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3L, 8, 8, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 8, 8, 3), }",
    ],
)
@pytest.mark.parametrize("member", ["golden_inputs-0.npy", "golden_outputs-0.npy"])
def test_a_header_of_an_array_is_never_python(bundle: Path, text: str, member: str) -> None:
    header = text.encode().ljust(117) + b"\n"
    content = HEADER[:8] + len(header).to_bytes(2, "little") + header + HEADER[128:]
    with_member(bundle, member, content)
    refuses(bundle, "golden images are not numpy arrays")


def test_more_golden_images_than_a_few(bundle: Path) -> None:
    with_member(bundle, "golden_inputs-0.npy", npy(np.zeros((1025, SIDE, SIDE, 3), np.uint8)))
    with_member(bundle, "golden_outputs-0.npy", npy(np.zeros((1025, 3), np.float32)))
    refuses(bundle, "golden images and logits do not match its manifest")


def test_a_manifest_as_this_package_writes_it_is_accepted(bundle: Path) -> None:
    document = json.loads(contents_of(bundle)["manifest.json"])
    assert verify(bundle).manifest.tool_version == document["tool_version"]
