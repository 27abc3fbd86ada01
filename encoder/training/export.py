"""Write a head as an ONNX graph, node by node: nothing of the machine that built it goes in."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from encoder.spectrum import Float64
from encoder.training.heads import Head

OPSET = 17
IR_VERSION = 9


def onnx_bytes(head: Head) -> bytes:
    """The graph: features (N, K + 2) to vectors and sigmas (N, n_latent), float32."""
    graph = _Graph()
    width, latents = head.matrix.shape
    vectors = graph.affine("features", head.matrix, head.bias)
    if head.layers:
        vectors = graph.node("Add", vectors, _network(graph, head, width, latents))
    graph.nodes.append(helper.make_node("Identity", [vectors], ["vectors"]))
    residual = graph.node("Gather", "features", graph.constant(np.array([width - 1])), axis=1)
    if head.sigma_floor is None or head.sigma_slope is None:
        raise ValueError("a head without calibrated sigmas can not be published")
    slope = graph.node("Mul", graph.node("Mul", residual, residual), graph.number(head.sigma_slope[None, :]))
    graph.nodes.append(
        helper.make_node("Sqrt", [graph.node("Add", slope, graph.number(head.sigma_floor))], ["sigmas"])
    )
    made = helper.make_graph(
        graph.nodes,
        "doppel",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", latents])
            for name in ("vectors", "sigmas")
        ],
        graph.constants,
    )
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="doppel", ir_version=IR_VERSION
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _network(graph: _Graph, head: Head, width: int, latents: int) -> str:
    """The small network's outputs, spread over the columns they belong to."""
    value = graph.node("Gather", "features", graph.constant(np.arange(width - 2)), axis=1)
    for number, (weight, bias) in enumerate(head.layers):
        value = graph.affine(value, weight, bias)
        if number < len(head.layers) - 1:
            value = graph.node("Relu", value)
    spread = np.eye(latents)[list(head.network_columns)]
    return graph.node("MatMul", value, graph.number(spread))


class _Graph:
    """Nodes and constants with names by number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def number(self, values: Float64) -> str:
        return self.constant(np.asarray(values, dtype=np.float32))

    def node(self, kind: str, *inputs: str, axis: int | None = None) -> str:
        name = f"v{len(self.nodes)}"
        node = helper.make_node(kind, list(inputs), [name])
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.nodes.append(node)
        return name

    def affine(self, value: str, weight: Float64, bias: Float64) -> str:
        return self.node("Gemm", value, self.number(weight), self.number(bias))
