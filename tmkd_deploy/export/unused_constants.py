"""Remove constants that no node uses."""

from __future__ import annotations

from onnx import GraphProto


def drop_unused_constants(graph: GraphProto) -> None:
    """Remove the initializers that neither a node nor an output of the graph uses."""
    used = {name for node in graph.node for name in node.input}
    used |= {output.name for output in graph.output}
    remaining = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(remaining)
