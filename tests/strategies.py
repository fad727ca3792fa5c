"""Small random networks, regions and specifications for property tests."""

import torch
from torch import Tensor

import bounds
from bounds.graph import Ref
from bounds.kinds import Operator
from bounds.ops.conv import Conv
from bounds.ops.elementwise import Add, Negate, Scale, Shift
from bounds.ops.linear import Linear
from bounds.ops.relu import LeakyReLU
from bounds.ops.shape import Reshape


class Net:
    """A builder with random weights drawn from one seeded generator."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.g = torch.Generator().manual_seed(seed)
        self.builder = bounds.Builder(shape)
        self.here = self.builder.input

    def draw(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=self.g) * scale

    def add(self, op: Operator, *params: Tensor) -> "Net":
        self.here = self.builder.apply(op, [self.here], params)
        return self

    def linear(self, out: int) -> "Net":
        fan_in = self.here.shape[-1]
        return self.add(Linear(), self.draw(out, fan_in, scale=fan_in**-0.5 * 1.5), self.draw(out, scale=0.3))

    def conv(self, out: int, kernel: int = 3, stride: int = 1, padding: int = 1, groups: int = 1) -> "Net":
        fan_in = self.here.shape[0] // groups
        weight = self.draw(out, fan_in, kernel, kernel, scale=(fan_in * kernel**2) ** -0.5 * 1.5)
        op = Conv((stride, stride), (padding, padding), (1, 1), groups)
        return self.add(op, weight, self.draw(out, scale=0.3))

    def relu(self, slope: float = 0.0) -> "Net":
        return self.add(LeakyReLU(slope))

    def flatten(self) -> "Net":
        return self.add(Reshape((int(torch.tensor(self.here.shape).prod()),)))

    def join(self, other: Ref) -> "Net":
        self.here = self.builder.apply(Add(), [self.here, other])
        return self

    def build(self) -> bounds.Graph:
        return self.builder.build(self.here)


def mlp(seed: int, widths: tuple[int, ...] = (4, 5, 5, 3), slope: float = 0.0) -> bounds.Graph:
    net = Net((widths[0],), seed)
    for width in widths[1:-1]:
        net.linear(width).relu(slope)
    return net.linear(widths[-1]).build()


def cnn(seed: int) -> bounds.Graph:
    net = Net((2, 5, 5), seed)
    net.add(Shift(), net.draw(2, 1, 1)).add(Scale(), net.draw(2, 1, 1))
    net.conv(2, stride=2).relu().conv(4, kernel=2, padding=0, groups=2).relu(0.1)
    return net.flatten().linear(3).build()


def resnet(seed: int) -> bounds.Graph:
    net = Net((2, 4, 4), seed)
    net.conv(2).relu()
    skip = net.here
    net.conv(2).relu().conv(2).join(skip).relu()
    before = net.here
    net.here = before
    net.conv(2, kernel=1, stride=2, padding=0)
    shortcut = net.here
    net.here = before
    net.conv(2, stride=2).relu().conv(2).join(shortcut).relu().add(Negate())
    return net.flatten().linear(3).build()


FAMILIES = {"mlp": mlp, "leaky": lambda seed: mlp(seed, slope=0.2), "cnn": cnn, "resnet": resnet}


def region(
    graph: bounds.Graph, seed: int, eps: float, batch: int = 2, norm: float = torch.inf
) -> bounds.Ball:
    g = torch.Generator().manual_seed(seed + 1000)
    return bounds.Ball(torch.rand(batch, *graph.input_shape, generator=g), eps, norm=norm)


def random_spec(graph: bounds.Graph, seed: int, batch: int = 2, rows: int = 4) -> bounds.Spec:
    g = torch.Generator().manual_seed(seed + 2000)
    outputs = int(torch.tensor(graph.output_shape).prod())
    matrix = torch.randn(batch, rows, outputs, generator=g)
    return bounds.Spec(matrix, torch.randn(batch, rows, generator=g))
