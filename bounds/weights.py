"""Bounds over weights that are not known exactly: perturbed, quantised, or stored with errors.

A layer with weights ``W + D``, where ``|D| <= R`` element by element, gives ``W x + b + e`` with
``|e| <= R |x|``; where each weight is used once, every such e has its D. Neither the weights nor e become
inputs: e is an operator's value that lies between the two lines ``-r`` and ``r`` of ``r = R |x|``, which is
all that interval and linear bounds ask of an operator. So every method and every region applies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.graph import Builder, Graph, Node, Ref
from bounds.interval import Interval
from bounds.kinds import Pointwise, Tensors
from bounds.ops.conv import Conv
from bounds.ops.conv_transpose import ConvTranspose
from bounds.ops.elementwise import Add
from bounds.ops.linear import Linear, MatMul
from bounds.ops.relu import Abs
from bounds.piecewise import chosen

Radius = Callable[[Tensor], Tensor]
# Linear in the weights and in the input, so that their deviation is the layer itself of other weights.
_KINDS = (Linear, MatMul, Conv, ConvTranspose)
_UP = 1 + 2.0**-50


def perturbed(
    graph: Graph, weights: Radius, biases: Radius | None = None, names: Collection[str] | None = None
) -> Graph:
    """A graph whose bounds hold for all weights within radii of those of ``graph``; its value is the same.

    weights: from a weight tensor to how far each of its elements may be off, at most: float64, >= 0, of that
        shape, such as ``relative(0.01)`` or ``half_step(8)``.
    biases: the same for biases; None: they are exact.
    names: of the nodes whose weights are perturbed; by default those of all fully connected layers,
        convolutions and products with constants. Scales, shifts and normalisations keep theirs.

    Weights that are used more than once, as in a convolution, count as if each use had a deviation of its
    own, which is sound. On one linear layer over a box CROWN is exact. Radii are those of the present
    weights; gradients flow through them, too. The setting is that of Weng et al. (2020), "Towards
    certificated model robustness against weight perturbations", and Tsai et al. (2021), "Formalizing
    generalization and robustness of neural networks to weight perturbations", inputs perturbed as well::

        quantised = bounds.perturbed(bounds.trace(module, x[:1]), half_step(8))
        bounds.bound(quantised, bounds.Ball(x, eps), bounds.margins(y, 10)).lower > 0

    Raises ``InvalidInput`` for names that are no such nodes, graphs without any, and radii that do not fit.
    """
    layers = _layers(graph, names)
    builder = Builder(graph.input_shape)
    refs = [builder.input]
    for index, node in enumerate(graph.nodes[1:], start=1):
        ins = [refs[i] for i in node.inputs]
        here = builder.apply(node.op, ins, node.params, node.name)
        refs.append(_widened(builder, node, ins[0], here, weights, biases) if index in layers else here)
    return builder.build(refs[graph.output])


def relative(delta: float) -> Radius:
    """The radius ``delta |w|`` of each weight; delta >= 0. Raises ``InvalidInput`` for another delta."""
    if not 0 <= delta < math.inf:
        raise InvalidInput(f"delta is {delta}; a relative radius is a finite number >= 0")
    return lambda w: w.double().abs() * (delta * _UP)


def half_step(bits: int) -> Radius:
    """Half a step of rounding a tensor to ``2 ** bits - 1`` levels between -m and m, m its largest weight.

    Included is what float32 may add where it computes steps and products. Steps of single channels and
    of asymmetric ranges are no larger. Raises ``InvalidInput`` for bits outside 2 ... 16.
    """
    if bits not in range(2, 17):
        raise InvalidInput(f"bits is {bits}; give a number of bits from 2 to 16")
    half = (0.5 + 2.0 ** (bits - 21)) / (2 ** (bits - 1) - 1) * _UP
    return lambda w: (w.double().abs().amax() * half).expand(w.shape)


@dataclass(frozen=True)
class Within(Pointwise):
    """Any value in [-z, z], for z >= 0; as a function, the one in the middle."""

    def function(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z)

    def image(self, x: Interval, rounded: bool) -> Interval:
        most = x.upper.clamp(min=0)
        return Interval(-most, most)

    def contact(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor]:
        ends = torch.stack([x.lower.clamp(min=0), x.upper.clamp(min=0)])
        gaps = self.gap(slope, ends, -side * ends, side, rounded=False)
        return chosen(ends, gaps)

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        ends = (z.clamp(min=0) for z in (x.lower, x.upper))
        best = torch.minimum(*(self.gap(slope, z, -side * z, side, rounded) for z in ends))
        return torch.nan_to_num(best, nan=-math.inf, posinf=-math.inf, neginf=-math.inf) * side

    def undecided(self, x: Interval) -> Tensor:
        """Nowhere: the lines are the same on every interval."""
        return torch.zeros_like(x.lower, dtype=torch.bool)

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(x.lower), torch.ones_like(x.lower)


def _layers(graph: Graph, names: Collection[str] | None) -> set[int]:
    layers = {i for i, node in enumerate(graph.nodes) if isinstance(node.op, _KINDS)}
    if names is not None:
        known = {graph.nodes[i].name for i in layers}
        missing = ", ".join(repr(name) for name in names if name not in known)
        if missing:
            raise InvalidInput(f"the graph has no layer with weights named {missing}; it has {sorted(known)}")
        layers = {i for i in layers if graph.nodes[i].name in names}
    if not layers:
        raise InvalidInput("there are no fully connected or convolutional layers whose weights to perturb")
    return layers


def _widened(builder: Builder, node: Node, x: Ref, here: Ref, weights: Radius, biases: Radius | None) -> Ref:
    """The layer's value and any deviation that its radii allow."""
    radii: Tensors = (_radius(node, node.params[0], weights),)
    if biases is not None and len(node.params) > 1:
        radii = (*radii, _radius(node, node.params[1], biases))
    name = f"deviation of {node.name}"
    size = builder.apply(node.op, [builder.apply(Abs(), [x], (), name)], radii, name)
    return builder.apply(Add(), [here, builder.apply(Within(), [size], (), name)], (), name)


def _radius(node: Node, param: Tensor, of: Radius) -> Tensor:
    radius = of(param)
    if radius.shape != param.shape or not bool(((radius >= 0) & radius.isfinite()).all()):
        raise InvalidInput(
            f"the radius of a weight of {node.name!r} has shape {tuple(radius.shape)}, weight "
            f"{tuple(param.shape)}; give finite numbers >= 0 of that shape"
        )
    return radius
