"""What the C++ runtime reads, it accepts and refuses as the Python runtime does."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import hostile_engines
import numpy as np
import pytest
from colour_bundle import colour_model
from cpp_build import Built
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tmkd_deploy.runtime.onnx_check import UnsafeModelError, refuse_unsafe
from tmkd_deploy.runtime.strict_json import parse_object

FEW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_hashes_are_those_of_sha256(built: Built) -> None:
    texts = [bytes(range(256)) * 4]
    texts += [b"x" * size for size in (0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 100_000)]
    expected = [hashlib.sha256(text).hexdigest() for text in texts]
    assert built.verdicts_on_texts("sha256", texts) == expected


def python_accepts(text: bytes) -> bool:
    try:
        parse_object(text)
    except ValueError:
        return False
    return True


DOCUMENTS = [
    *(
        b"",
        b" ",
        b"[]",
        b"null",
        b"{",
        b"{}",
        b" {} ",
        b"{}{}",
        b"{} x",
        b"\xef\xbb\xbf{}",
        b"{}\0",
    ),
    *(b'{"a": 1,}', b'{"a" 1}', b"{a: 1}", b"{'a': 1}", b'{"a": [1,]}', b'{"a": [1 2]}'),
    *(
        b'{"a": %s}' % number
        for number in b"1 -1 0 -0 01 +1 .5 1. 1.5 1e5 1E+5 1e-5 1e 1e+".split()
    ),
    *(
        b'{"a": %s}' % word
        for word in b"- tru true nul NaN Infinity -Infinity 1e999 -1e999".split()
    ),
    *(b'{"a": %s}' % number for number in (b"9" * 30, b"9" * 31, b"0." + b"1" * 29, b"1e-400")),
    *(b'{"a": 1, "a": 1}', b'{"a": {"b": 1, "c": 1, "b": 2}}', b'{"a": 1, "\\u0061": 1}'),
    *(
        b'{"a": "%s"}' % text
        for text in (b"\\u0000", b"\\n", b"\n", b"\t", b"\x7f", b"\\x", b"\\u12")
    ),
    *(
        b'{"a": "%s"}' % text
        for text in (b"\\ud83d\\ude00", b"\\ud83d", b"\\ude00", b"\\ud83d\\u0041")
    ),
    *(
        b'{"a": "%s"}' % text
        for text in (b"\\ud83d\\ud83d\\ude00", b"\\u202e", b"\\u200d", b"\\u2066")
    ),
    *(
        b'{"a": "%s"}' % text
        for text in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80")
    ),
    *(
        b'{"a": "%s"}' % text
        for text in (b"\xe2\x80", b"\xc2\x9b", b"\xe2\x80\xa8", b"\xf0\x9f\x9f\xa2")
    ),
    *(b'{"%s": 1}' % key for key in (b"\\u001b", b"x" * 4096, b"x" * 4097, "é".encode() * 4096)),
    *(b'{"a": %s}' % (b"[" * deep + b"]" * deep) for deep in (18, 19, 20, 5000)),
    *(b'{"a": %s}' % (b"[" * deep + b"0" + b"]" * deep) for deep in (17, 18, 19, 20)),
    *(b'{"a":' * deep + b"{}" + b"}" * deep for deep in (18, 19, 20)),
    *(b'{"a":' * deep + b"1" + b"}" * deep for deep in (18, 19, 20)),
]


def test_json_is_as_strict_as_in_python(built: Built) -> None:
    found = built.verdicts_on_texts("json", DOCUMENTS)
    for text, verdict in zip(DOCUMENTS, found, strict=True):
        assert verdict.startswith("ok ") == python_accepts(text), (text[:100], verdict)
    assert sum(verdict.startswith("ok ") for verdict in found) > 15


WORDS = st.text(max_size=6)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@FEW
@given(document=st.dictionaries(WORDS, VALUES, max_size=4), seed=st.integers(0, 2**32))
def test_any_json_and_its_damage_is_judged_alike(built: Built, document: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    whole = json.dumps(document, ensure_ascii=bool(seed % 2)).encode("utf-8", "replace")
    texts = [whole]
    for _ in range(60):
        text = bytearray(whole)
        text[random.integers(len(text))] = random.choice(list(b'"\\{}[],:0e.\xff\n'))
        texts.append(bytes(text))
    for text, verdict in zip(texts, built.verdicts_on_texts("json", texts), strict=True):
        assert verdict.startswith("ok ") == python_accepts(text), (text, verdict)


def python_refuses(model: bytes) -> str | None:
    try:
        refuse_unsafe(model)
    except UnsafeModelError as error:
        return error.what
    return None


@pytest.mark.parametrize(
    "make",
    [
        hostile_engines.loop,
        hostile_engines.branch,
        hostile_engines.own_function,
        hostile_engines.foreign_operator,
        lambda: hostile_engines.weights_elsewhere("weights.bin"),
        lambda: hostile_engines.constant_elsewhere("weights.bin"),
        hostile_engines.sparse,
        colour_model,
    ],
)
def test_an_engine_that_is_more_than_a_plain_graph_is_refused(built: Built, make: Any) -> None:
    (verdict,) = built.verdicts_on_texts("onnx", [make()])
    expected = python_refuses(make())
    assert verdict == ("ok " if expected is None else f"Unfit: its engine {expected}")


@FEW
@given(noise=st.binary(max_size=60), seed=st.integers(0, 2**32))
def test_noise_and_damaged_engines_are_judged_alike(built: Built, noise: bytes, seed: int) -> None:
    random = np.random.default_rng(seed)
    whole = colour_model()
    models = [noise, b"\x0b\x0c", b"\xff" * 40, b"\x3a" + b"\xff" * 9 + b"\x01", b"\x3a\x00" * 5]
    for _ in range(30):
        model = bytearray(whole)
        model[random.integers(len(model))] = random.integers(256)
        models += [bytes(model), bytes(model[: random.integers(len(model))])]
    for model, verdict in zip(models, built.verdicts_on_texts("onnx", models), strict=True):
        assert verdict.startswith("ok") == (python_refuses(model) is None), (model, verdict)
