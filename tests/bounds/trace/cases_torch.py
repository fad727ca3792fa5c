"""Small functions for every torch importer; the conformance test walks this table."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor] | nn.Module

IMAGE, LINE, VECTOR = (4, 6, 5), (4, 7), (6,)


def _draw(*shape: int) -> Tensor:
    n = torch.Size(shape).numel()
    return torch.cos(torch.arange(1.0, n + 1) * 1.7).reshape(shape)


def _norm(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    with torch.no_grad():
        for i, t in enumerate((norm.weight, norm.bias, norm.running_mean)):
            if t is not None:
                t.copy_(_draw(len(t)) + i)
        norm.running_var.copy_(_draw(norm.num_features).abs() + 0.1)
    return norm


CASES: dict[str, list[tuple[tuple[int, ...], Function]]] = {
    "aten::linear": [
        (VECTOR, nn.Linear(6, 3)),
        (VECTOR, nn.Linear(6, 3, bias=False)),
        (LINE, nn.Linear(7, 2)),
    ],
    "aten::matmul": [(VECTOR, lambda x: x @ _draw(6, 3)), (LINE, lambda x: torch.matmul(x, _draw(7, 2)))],
    "aten::mm": [(VECTOR, lambda x: torch.mm(x, _draw(6, 3)))],
    "aten::addmm": [(VECTOR, lambda x: torch.addmm(_draw(3), x, _draw(6, 3)))],
    "aten::conv1d": [
        (LINE, nn.Conv1d(4, 3, 3, stride=2, padding=1)),
        (LINE, nn.Conv1d(4, 2, 4, groups=2, padding="same")),
    ],
    "aten::conv2d": [
        (IMAGE, nn.Conv2d(4, 3, 3)),
        (
            IMAGE,
            nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, bias=False),
        ),
        (IMAGE, nn.Conv2d(4, 2, (5, 3), padding="same", dilation=(1, 2))),
        (IMAGE, nn.Conv2d(4, 2, 2, padding="valid")),
    ],
    "aten::_native_batch_norm_legit_no_training": [
        (IMAGE, _norm(nn.BatchNorm2d(4))),
        (LINE, _norm(nn.BatchNorm1d(4, eps=0.1, affine=False))),
        (VECTOR, _norm(nn.BatchNorm1d(6))),
    ],
    "aten::add": [
        (IMAGE, lambda x: x + x),
        (IMAGE, lambda x: 2.5 + x),
        (IMAGE, lambda x: x + _draw(4, 1, 1)),
        (VECTOR, lambda x: _draw(1, 6) + x),
    ],
    "aten::sub": [
        (IMAGE, lambda x: x - x.relu()),
        (VECTOR, lambda x: _draw(6) - x),
        (VECTOR, lambda x: x - 0.3),
    ],
    "aten::rsub": [(VECTOR, lambda x: torch.rsub(x, 2.0)), (VECTOR, lambda x: 1 - x)],
    "aten::mul": [(IMAGE, lambda x: x * _draw(1, 4, 1, 1)), (VECTOR, lambda x: 0.3 * x)],
    "aten::div": [(IMAGE, lambda x: x / _draw(4, 1, 1)), (VECTOR, lambda x: x / 0.3)],
    "aten::neg": [(VECTOR, lambda x: -x)],
    "aten::relu": [(IMAGE, nn.ReLU()), (IMAGE, nn.ReLU(inplace=True)), (VECTOR, F.relu)],
    "aten::leaky_relu": [(VECTOR, nn.LeakyReLU(0.2)), (VECTOR, nn.LeakyReLU(0.2, inplace=True))],
    "aten::sigmoid": [(VECTOR, nn.Sigmoid())],
    "aten::tanh": [(VECTOR, torch.tanh)],
    "aten::clamp": [(VECTOR, lambda x: x.clamp(-0.3, 0.4)), (VECTOR, lambda x: x.clamp(max=0.4))],
    "aten::clamp_min": [(VECTOR, lambda x: torch.clamp_min(x, 0.1))],
    "aten::hardtanh": [(VECTOR, nn.Hardtanh(-0.5, 0.3)), (VECTOR, nn.ReLU6())],
    "aten::relu6": [(VECTOR, F.relu6)],
    "aten::view": [
        (IMAGE, lambda x: x.view(x.size(0), -1)),
        (IMAGE, lambda x: x.view(-1, 120)),
        (IMAGE, lambda x: x.flatten(1)),
        (IMAGE, nn.Flatten()),
        (VECTOR, nn.Unflatten(1, (2, 3))),
        (IMAGE, lambda x: x.reshape(len(x), 8, 15)),
    ],
    "aten::_unsafe_view": [(IMAGE, lambda x: x.transpose(1, 2).flatten(1))],
    "aten::unsqueeze": [(VECTOR, lambda x: x.unsqueeze(1)), (VECTOR, lambda x: x[:, :, None])],
    "aten::squeeze": [(VECTOR, lambda x: x[:, None].squeeze(1)), ((3, 1, 1), lambda x: x.squeeze((2, 3)))],
    "aten::permute": [(IMAGE, lambda x: x.permute(0, 3, 1, 2)), (IMAGE, lambda x: x.movedim(1, 3))],
    "aten::transpose": [(IMAGE, lambda x: x.transpose(1, -1)), (LINE, lambda x: x.swapaxes(1, 2))],
    "aten::clone": [(IMAGE, nn.Dropout(0.3)), (IMAGE, lambda x: x.clone())],
    "aten::detach": [(VECTOR, lambda x: x.detach() * 2)],
    "aten::_to_copy": [(VECTOR, lambda x: x.to(x.dtype, copy=True))],
    "aten::cat": [
        (IMAGE, lambda x: torch.cat([x, -x, x[:, :1]], 1)),
        (IMAGE, lambda x: torch.cat([x, x.relu()], -1)),
        (VECTOR, lambda x: torch.cat([torch.ones(len(x), 2), x, torch.zeros(len(x), 1), -x], 1)),
        (VECTOR, lambda x: torch.cat([x, torch.ones(len(x), 2)], 1)),
    ],
    "aten::stack": [
        (VECTOR, lambda x: torch.stack([x, -x], 1)),
        (LINE, lambda x: torch.stack([x, torch.ones(len(x), 4, 7), x], -1)),
    ],
    "aten::slice": [(IMAGE, lambda x: x[:, 1:3, ::2, -3:]), (VECTOR, lambda x: x.narrow(1, 2, 3))],
    "aten::select": [(IMAGE, lambda x: x[:, 2]), (IMAGE, lambda x: x[..., -1])],
    "aten::index_select": [(IMAGE, lambda x: x.index_select(1, torch.tensor([2, 0, 3])))],
    "aten::split": [
        (VECTOR, lambda x: x.split(4, 1)[1]),
        (VECTOR, lambda x: x.chunk(2, 1)[0] - x.chunk(2, 1)[1]),
    ],
    "aten::split_with_sizes": [(VECTOR, lambda x: x.split([1, 3, 2], dim=-1)[1])],
    "aten::unbind": [(LINE, lambda x: x.unbind(1)[3])],
    "aten::pad": [
        (IMAGE, lambda x: F.pad(x, (1, 2, 0, 1))),
        (IMAGE, nn.ConstantPad2d(1, 0.7)),
        (IMAGE, lambda x: F.pad(x, (-1, 2, 0, 0, 1, 0))),
    ],
    "aten::constant_pad_nd": [(LINE, lambda x: torch.constant_pad_nd(x, (1, -2), 0.5))],
    "aten::mean": [
        (IMAGE, lambda x: x.mean((2, 3))),
        (IMAGE, lambda x: x.mean(1, keepdim=True)),
    ],
    "aten::sum": [(IMAGE, lambda x: x.sum(-1)), (VECTOR, lambda x: x.sum(1, keepdim=True))],
    "aten::avg_pool1d": [(LINE, nn.AvgPool1d(3, stride=2, padding=1)), (LINE, nn.AvgPool1d(2))],
    "aten::avg_pool2d": [
        (IMAGE, nn.AvgPool2d(2)),
        (IMAGE, nn.AvgPool2d((3, 2), stride=(2, 1), padding=1, ceil_mode=True)),
        (IMAGE, nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    ],
    "aten::adaptive_avg_pool1d": [(LINE, nn.AdaptiveAvgPool1d(3))],
    "aten::adaptive_avg_pool2d": [
        (IMAGE, nn.AdaptiveAvgPool2d(1)),
        (IMAGE, nn.AdaptiveAvgPool2d((4, 2))),
        (IMAGE, nn.AdaptiveAvgPool2d((3, 5))),
        (IMAGE, nn.AdaptiveAvgPool2d((9, 7))),
    ],
}
