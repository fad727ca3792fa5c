"""Small functions for the torch importers of products of branches and of composites; see ``cases_torch``."""

import torch
import torch.nn.functional as F
from torch import nn

from .cases_torch import IMAGE, LINE, SOLID, VECTOR, Function, _draw

CASES: dict[str, list[tuple[tuple[int, ...], Function]]] = {
    "aten::mul": [
        (IMAGE, lambda x: x * x.relu()),
        (IMAGE, lambda x: x * x.mean(1, keepdim=True)),
        (LINE, lambda x: x[:, :1] * x.relu()),
    ],
    "aten::matmul": [
        (LINE, lambda x: x @ x.mT),
        (IMAGE, lambda x: x.mT @ x.relu()),
        (IMAGE, lambda x: x[:, :1].mT @ x),
        (IMAGE, lambda x: x[:, 1:2] @ x.mT),
    ],
    "aten::bmm": [(LINE, lambda x: torch.bmm(x, x.mT))],
    "aten::baddbmm": [(LINE, lambda x: torch.baddbmm(_draw(1, 4, 4), x, x.mT, beta=0.5, alpha=2))],
    "aten::einsum": [
        (LINE, lambda x: torch.einsum("bij,bkj->bik", x, x.relu())),
        (LINE, lambda x: torch.einsum("bij,bik->bjk", x, x)),
        (IMAGE, lambda x: torch.einsum("b...ij,b...kj->b...ik", x, x)),
        (VECTOR, lambda x: torch.einsum("bi,bj->bij", x, x)),
    ],
    "aten::maximum": [
        (IMAGE, lambda x: torch.maximum(x, -x.mean(1, keepdim=True))),
        (LINE, lambda x: torch.maximum(x, _draw(7))),
        (VECTOR, lambda x: torch.maximum(torch.zeros(()), x)),
    ],
    "aten::minimum": [
        (VECTOR, lambda x: torch.minimum(x, 0.3 * x.flip(1))),
        (LINE, lambda x: torch.minimum(_draw(4, 1), x)),
        (VECTOR, lambda x: torch.minimum(x, torch.ones(6))),
    ],
    "aten::amax": [
        (IMAGE, lambda x: x.amax((1, 3))),
        (IMAGE, lambda x: x.amax(-1, keepdim=True)),
        (IMAGE, lambda x: F.relu(x).amax((2, 3), keepdim=True)),
    ],
    "aten::amin": [(LINE, lambda x: x.amin(1))],
    "aten::max": [
        (LINE, lambda x: x.max(2)[0]),
        (LINE, lambda x: x.max(1, keepdim=True).values),
        (LINE, lambda x: torch.max(x, -x)),
    ],
    "aten::min": [(LINE, lambda x: x.min(-1)[0]), (LINE, lambda x: torch.min(x, _draw(7)))],
    "aten::max_pool1d": [
        (LINE, nn.MaxPool1d(2)),
        (LINE, nn.MaxPool1d(3, 2, padding=1)),
        (LINE, nn.MaxPool1d(3, 1, dilation=2)),
    ],
    "aten::max_pool2d": [
        (IMAGE, nn.MaxPool2d(2)),
        (IMAGE, nn.MaxPool2d(3, 2, padding=1)),
        (IMAGE, nn.MaxPool2d((3, 2), (2, 1), padding=(1, 0), dilation=(1, 2))),
        (IMAGE, nn.MaxPool2d(3, 2, ceil_mode=True)),
        (IMAGE, nn.MaxPool2d(2, 3, padding=1, ceil_mode=True)),
        (IMAGE, nn.Sequential(nn.MaxPool2d(2, 1), nn.ReLU(), nn.MaxPool2d(2, 1))),
    ],
    "aten::max_pool2d_with_indices": [
        (IMAGE, lambda x: torch.ops.aten.max_pool2d_with_indices(x, [2, 2])[0])
    ],
    "aten::max_pool3d_with_indices": [
        (SOLID, lambda x: torch.ops.aten.max_pool3d_with_indices(x, [2, 2, 2])[0])
    ],
    "aten::max_pool1d_with_indices": [(LINE, lambda x: torch.ops.aten.max_pool1d_with_indices(x, [2])[0])],
    "aten::max_pool3d": [(SOLID, nn.MaxPool3d(2)), (SOLID, nn.MaxPool3d((2, 3, 1), 2, padding=(1, 1, 0)))],
    "aten::adaptive_max_pool1d": [(LINE, nn.AdaptiveMaxPool1d(3)), (LINE, nn.AdaptiveMaxPool1d(9))],
    "aten::adaptive_max_pool2d": [
        (IMAGE, nn.AdaptiveMaxPool2d((3, 2))),
        (IMAGE, nn.AdaptiveMaxPool2d(1)),
        (IMAGE, nn.AdaptiveMaxPool2d((4, 5))),
    ],
    "aten::adaptive_max_pool3d": [(SOLID, nn.AdaptiveMaxPool3d((2, 3, 1)))],
}
