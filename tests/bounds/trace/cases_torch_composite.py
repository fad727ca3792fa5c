"""Small functions for the torch importers of products of branches and of composites; see ``cases_torch``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cases_torch import IMAGE, LINE, SOLID, VECTOR, Function, _draw, _mask


def _affine(norm: nn.Module) -> nn.Module:
    """Weights and biases that show."""
    with torch.no_grad():
        for i, p in enumerate(norm.parameters()):
            p.copy_(_draw(*p.shape) + i)
    return norm


class First(nn.Module):
    """The first result of a module that has several, or its only one."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        y = self.module(x)
        return y[0] if isinstance(y, tuple) else y


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
    "aten::bilinear": [
        (VECTOR, lambda x: F.bilinear(x, x[:, :2].relu(), _draw(3, 6, 2), _draw(3))),
        (IMAGE, lambda x: F.bilinear(x.sigmoid(), x, _draw(2, x.shape[-1], x.shape[-1]))),
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
    "aten::softmax": [
        (IMAGE, nn.Softmax(1)),
        (LINE, lambda x: F.softmax(20 * x, -1)),
        (VECTOR, nn.Softmin(1)),
        (LINE, lambda x: x.masked_fill(_mask(4, 7), -float("inf")).softmax(-1) @ x.mT),
        (LINE, lambda x: (x + _draw(4, 7).log().nan_to_num(-float("inf"))).softmax(-1)),
        (LINE, lambda x: torch.where(_mask(7), x, -float("inf")).view(-1, 2, 14).softmax(-1)),
    ],
    "aten::_softmax": [(LINE, lambda x: torch.ops.aten._softmax(x, 2, False))],
    "aten::log_softmax": [(IMAGE, nn.LogSoftmax(2)), (VECTOR, lambda x: F.log_softmax(30 * x, 1))],
    "aten::_log_softmax": [(LINE, lambda x: torch.ops.aten._log_softmax(x, 1, False))],
    "aten::logsumexp": [
        (IMAGE, lambda x: x.logsumexp((1, 3))),
        (LINE, lambda x: torch.logsumexp(x, -1, keepdim=True)),
    ],
    "aten::layer_norm": [
        (LINE, _affine(nn.LayerNorm(7))),
        (IMAGE, _affine(nn.LayerNorm((6, 5), eps=0.1))),
        (IMAGE, nn.LayerNorm((4, 6, 5), elementwise_affine=False)),
    ],
    "aten::rms_norm": [(LINE, _affine(nn.RMSNorm(7))), (IMAGE, nn.RMSNorm((6, 5), eps=0.1))],
    "aten::group_norm": [(IMAGE, _affine(nn.GroupNorm(2, 4))), (LINE, nn.GroupNorm(1, 4, affine=False))],
    "aten::instance_norm": [
        (IMAGE, _affine(nn.InstanceNorm2d(4, affine=True))),
        (LINE, nn.InstanceNorm1d(4)),
    ],
    "aten::linalg_vector_norm": [
        (LINE, lambda x: F.normalize(x, dim=1)),
        (IMAGE, lambda x: torch.linalg.vector_norm(x, dim=(1, 2))),
    ],
    "aten::norm": [(LINE, lambda x: torch.ops.aten.norm.ScalarOpt_dim(x, 2, [1], True))],
    "aten::var": [
        (LINE, lambda x: x.var(1)),
        (IMAGE, lambda x: torch.var(x, (1, 2), correction=0, keepdim=True)),
        (IMAGE, lambda x: torch.var(x, -1, unbiased=False)),
    ],
    "aten::std": [(LINE, lambda x: x.std(2, keepdim=True))],
    "aten::var_mean": [
        (LINE, lambda x: torch.var_mean(x, -1, correction=0)[0]),
        (LINE, lambda x: torch.var_mean(x, -1)[1]),
    ],
    "aten::std_mean": [(LINE, lambda x: torch.std_mean(x, -1, keepdim=True)[0])],
    "aten::scaled_dot_product_attention": [
        (LINE, lambda x: F.scaled_dot_product_attention(x, x.relu(), -x)),
        (LINE, lambda x: F.scaled_dot_product_attention(x, x[:, :3], x[:, 1:], scale=0.3)),
        (IMAGE, lambda x: F.scaled_dot_product_attention(x, x, x.relu(), is_causal=True)),
        (
            LINE,
            lambda x: F.scaled_dot_product_attention(
                x, x, x, attn_mask=_mask(4, 4) | torch.eye(4, dtype=bool)
            ),
        ),
        (LINE, lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=_draw(4, 4))),
        (
            IMAGE,
            lambda x: F.scaled_dot_product_attention(x, x, x, _draw(6, 6).log().nan_to_num(-float("inf"))),
        ),
    ],
    "aten::lstm_cell": [(VECTOR, First(nn.LSTMCell(6, 4)))],
    "aten::gru_cell": [(VECTOR, First(nn.GRUCell(6, 4)))],
    "aten::rnn_tanh_cell": [(VECTOR, nn.RNNCell(6, 4))],
    "aten::rnn_relu_cell": [(VECTOR, nn.RNNCell(6, 4, nonlinearity="relu"))],
}
