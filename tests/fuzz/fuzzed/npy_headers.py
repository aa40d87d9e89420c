"""Arrays in `.npy` files, whose header is a Python expression."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from mutations import Field, mutated

from fuzzed.bundles import NEEDS, documented, members, try_bundle, with_member
from fuzzed.target import Attempts, Target

HEADERS = [
    *(
        "",
        "{",
        "{}",
        "{'descr': '|u1'}",
        "[]",
        "1",
        "'" * 50,
        "(" * 400,
        "{" * 3000,
        "\n\t x",
        "\0",
    ),
    *("{'descr': '|O', 'fortran_order': False, 'shape': (3, 8, 8, 3), }", "a b c", "0b2", "1__0"),
    *("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", "  indented\n more\n", "'''"),
    "{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 8, 8, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 8, 8, 3), }",
    "{'descr': '|u1', 'fortran_order': 0, 'shape': (3L, 8, 8, 3), }",
    "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (3, 8, 8, 3), }",
    "{'descr': ('|u1', (2, 2)), 'fortran_order': False, 'shape': (3, 8, 8, 3), }",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (3, 8, 8, 3), }",
    "{'descr': '|V9999999999', 'fortran_order': False, 'shape': (), }",
    "__import__('os').system('id')",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 8, 8, 3), 'descr': None}",
    "-" * 5000 + "1",
    "{1:" * 200,
]


@st.composite
def arrays(draw: st.DrawFn, original: bytes) -> bytes:
    """A `.npy` file with its bytes or its header changed."""
    if draw(st.booleans()):
        return draw(mutated(original, [Field(6, 1), Field(7, 1), Field(8, 2), Field(10, 1)]))
    length = struct.unpack("<H", original[8:10])[0]
    header, rest = original[10 : 10 + length].decode("latin1"), original[10 + length :]
    if draw(st.booleans()):
        header = draw(st.sampled_from(HEADERS))
    else:
        old = draw(
            st.sampled_from(["|u1", "False", "(", ")", ",", "'", "descr", "shape", " ", "3"])
        )
        new = draw(
            st.sampled_from(HEADERS) | st.text("(){}[]',:0123456789-+.eEjJLxuO \t\n#\\", max_size=8)
        )
        header = header.replace(old, new, 1)
    encoded = header.encode("utf-8", "replace")[:65000] + b"\n"
    version = draw(st.sampled_from([(1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9)]))
    size = struct.pack("<H" if version[0] == 1 else "<I", len(encoded))
    return b"\x93NUMPY" + bytes(version) + size + encoded + rest


def _golden() -> st.SearchStrategy[Any]:
    names = ["golden_inputs-0.npy", "golden_outputs-0.npy", "golden_preprocessed.npy"]
    return st.sampled_from(names).flatmap(
        lambda name: st.tuples(st.just(name), arrays(members()[name]))
    )


def _try_arrays(case: tuple[str, bytes], folder: Path) -> Attempts:
    from tmkd_deploy.agent.agent_errors import AgentError
    from tmkd_deploy.agent.inference.predict_request import read_images

    name, content = case
    yield from try_bundle(with_member(name, content), folder)
    file = folder / "images.npy"
    file.write_bytes(content)

    def on_the_device() -> None:
        try:
            read_images(file)
        except AgentError as error:
            if not error.problem.endswith("."):
                raise

    if name == "golden_inputs-0.npy":
        yield on_the_device


TARGETS = [
    Target(
        "npy headers",
        _golden,
        lambda: ("golden_inputs-0.npy", members()["golden_inputs-0.npy"]),
        _try_arrays,
        documented,
        share=3,
        needs=NEEDS,
    ),
]
