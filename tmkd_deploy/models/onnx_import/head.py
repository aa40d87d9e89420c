"""Which output of a file has the scores of the classes, and the logits before a softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.onnx_import.graph_builder import BATCHES, Value
from tmkd_deploy.models.onnx_import.read import OnnxFile
from tmkd_deploy.printable import printable

_KEY = "student.model_kwargs.output"
_SOFTMAX: dict[str, Literal["Softmax", "LogSoftmax"]] = {
    "Softmax": "Softmax",
    "LogSoftmax": "LogSoftmax",
}


@dataclass(frozen=True)
class Head:
    """`output` is the file's own; `logits` the value before its softmax, if it ends in one.

    `last` is the operator that computes the one from the other, None if they are the same.
    """

    output: str
    logits: str
    last: Literal["Softmax", "LogSoftmax"] | None

    @property
    def ends_in_softmax(self) -> bool:
        """Whether the output has probabilities."""
        return self.last == "Softmax"


def outputs_of(file: OnnxFile, wanted: str | None) -> list[str]:
    """The outputs to look at: the one that the recipe names, or all.

    Raises:
        RequestError: there is no output of that name.
    """
    names = [each.name for each in file.proto.graph.output]
    if wanted is None:
        return names
    if wanted not in names:
        raise RequestError(
            f"The ONNX file has no output {printable(wanted, 60)!r}.",
            where=_KEY,
            advice=f"It has {_listed(names)}.",
        )
    return [wanted]


def head_of(file: OnnxFile, names: list[str], values: dict[str, Value]) -> Head:
    """The output [N, C] among `names`.

    Raises:
        RequestError: there is none, or there are several; or it scores every class by itself.
    """
    found = [name for name in names if name in values and _has_scores(values[name])]
    if not found:
        raise RequestError(
            f"No output of the ONNX file has scores of classes, [N, C]: it has {_listed(names)}.",
            where=str(file.path),
            advice="Export a classifier.",
        )
    if len(found) > 1:
        raise RequestError(
            f"Several outputs of the ONNX file have the shape of scores: {_listed(found)}.",
            where=str(file.path),
            advice=f"Name the one that has the classes' scores: --set {_KEY}={found[0]}",
        )
    made_by = {name: node for node in file.proto.graph.node for name in node.output}
    name = found[0]
    last: Literal["Softmax", "LogSoftmax"] | None = None
    while name in made_by and (kind := made_by[name].op_type) in (*_SOFTMAX, "Identity"):
        last = last or _SOFTMAX.get(kind)
        name = made_by[name].input[0]
    if name in made_by and made_by[name].op_type == "Sigmoid":
        raise RequestError(
            "The ONNX file ends in a sigmoid, which scores each class by itself; here, one class "
            "excludes the others.",
            where=str(file.path),
            advice="Give a classifier whose classes exclude each other, without the sigmoid.",
        )
    return Head(found[0], name, last)


def _has_scores(value: Value) -> bool:
    lengths = [each.shape[0] for each in value.at if each.ndim == 2]
    return value.node is not None and lengths == list(BATCHES)


def _listed(names: list[str]) -> str:
    return ", ".join(repr(printable(name, 60)) for name in names[:10])
