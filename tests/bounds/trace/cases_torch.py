"""Small functions for every torch importer; the conformance test walks this table."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor] | nn.Module

IMAGE, LINE, VECTOR, SOLID = (4, 6, 5), (4, 7), (6,), (2, 4, 5, 3)


def _draw(*shape: int) -> Tensor:
    n = torch.Size(shape).numel()
    return torch.cos(torch.arange(1.0, n + 1) * 1.7).reshape(shape)


def _mask(*shape: int) -> Tensor:
    return _draw(*shape) > 0


def _batched(x: Tensor, *shape: int) -> Tensor:
    return _draw(*shape).expand(len(x), *shape)


def _native_pad(kind: str, axes: int) -> tuple[tuple[int, ...], Function]:
    native = getattr(torch.ops.aten, f"{kind}_pad{axes}d")
    return (LINE, IMAGE, SOLID)[axes - 1], lambda x: native(x, [1, 2] * axes)


def _write_slice(x: Tensor) -> Tensor:
    y = torch.zeros(len(x), 9)
    y[:, 1:7] = x
    y[:, ::4] = 2.0
    return y


def _write_column(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 2] = 0
    y[:, 4] = x[:, 0]
    return y


def _write_points(x: Tensor) -> Tensor:
    places = [None, torch.tensor([0, 2]), torch.tensor([1, 3])]
    y = torch.ops.aten.index_put(x, places, x[:, :2, 0])
    y[:, [1, 3], 2] = 0.5
    return y


def _scale_slice(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, ::2] *= 2
    return y


def _norm(norm: nn.modules.batchnorm._NormBase) -> nn.Module:
    with torch.no_grad():
        for i, t in enumerate((norm.weight, norm.bias, norm.running_mean)):
            if t is not None:
                t.copy_(_draw(len(t)) + i)
        norm.running_var.copy_(_draw(norm.num_features).abs() + 0.1)
    return norm


def _slopes(prelu: nn.PReLU) -> nn.Module:
    with torch.no_grad():
        prelu.weight.copy_(_draw(prelu.num_parameters) * 2)
    return prelu


CASES: dict[str, list[tuple[tuple[int, ...], Function]]] = {
    "aten::linear": [
        (VECTOR, nn.Linear(6, 3)),
        (VECTOR, nn.Linear(6, 3, bias=False)),
        (LINE, nn.Linear(7, 2)),
        (LINE, lambda x: F.linear(x, _draw(7), _draw(1)[0])),
    ],
    "aten::matmul": [
        (VECTOR, lambda x: x @ _draw(6, 3)),
        (LINE, lambda x: torch.matmul(x, _draw(7, 2))),
        (IMAGE, lambda x: x @ _draw(4, 5, 3)),
        (IMAGE, lambda x: _draw(4, 2, 6) @ x),
        (LINE, lambda x: _draw(3, 4) @ x),
        (LINE, lambda x: x @ _draw(7)),
        (LINE, lambda x: _draw(4) @ x),
        (LINE, lambda x: x[:, None] @ _draw(3, 7, 2)),
    ],
    "aten::mm": [(VECTOR, lambda x: torch.mm(x, _draw(6, 3)))],
    "aten::bmm": [
        (LINE, lambda x: torch.bmm(x, _batched(x, 7, 3))),
        (LINE, lambda x: torch.bmm(_batched(x, 3, 4), x)),
    ],
    "aten::mv": [(VECTOR, lambda x: torch.mv(x, _draw(6))[:, None])],
    "aten::inner": [(LINE, lambda x: torch.inner(x, _draw(3, 7)))],
    "aten::addmm": [
        (VECTOR, lambda x: torch.addmm(_draw(3), x, _draw(6, 3))),
        (VECTOR, lambda x: torch.addmm(_draw(3), x, _draw(6, 3), alpha=0.3, beta=-2)),
        (VECTOR, lambda x: torch.addmm(x, x, _draw(6, 6), beta=0.5)),
    ],
    "aten::addmv": [(VECTOR, lambda x: torch.addmv(_draw(1), x, _draw(6), alpha=2)[:, None])],
    "aten::baddbmm": [
        (LINE, lambda x: torch.baddbmm(_draw(1, 4, 3), x, _batched(x, 7, 3), beta=0.5, alpha=2)),
        (LINE, lambda x: torch.baddbmm(x, _batched(x, 4, 4), x)),
    ],
    "aten::einsum": [
        (LINE, lambda x: torch.einsum("bij,jk->bik", x, _draw(7, 3))),
        (IMAGE, lambda x: torch.einsum("bchw,cd->bdhw", x, _draw(4, 3))),
        (IMAGE, lambda x: torch.einsum("bchw,c,hk->bwk", x, _draw(4), _draw(6, 2))),
        (LINE, lambda x: torch.einsum("bij->bji", x)),
        (LINE, lambda x: torch.einsum("...ij,kj->...ik", x, _draw(3, 7))),
        (LINE, lambda x: torch.einsum("i,bij", _draw(4), x)),
    ],
    "aten::tensordot": [(IMAGE, lambda x: torch.tensordot(x, _draw(5, 2, 6), dims=([3, 2], [0, 2])))],
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
    "aten::conv3d": [
        (SOLID, nn.Conv3d(2, 3, 2, stride=2, padding=1)),
        (SOLID, nn.Conv3d(2, 2, (1, 3, 2), groups=2, dilation=(1, 1, 2))),
    ],
    "aten::conv_transpose1d": [
        (LINE, nn.ConvTranspose1d(4, 3, 3, stride=2, padding=1, output_padding=1)),
        (LINE, nn.ConvTranspose1d(4, 2, 2, groups=2, bias=False)),
    ],
    "aten::conv_transpose2d": [
        (IMAGE, nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)),
        (IMAGE, nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2, dilation=2)),
    ],
    "aten::conv_transpose3d": [(SOLID, nn.ConvTranspose3d(2, 3, 2, stride=(1, 2, 1)))],
    "aten::col2im": [
        ((8, 4), nn.Fold((3, 3), 2)),
        ((12, 6), nn.Fold((4, 7), (2, 3), dilation=(2, 1), padding=(1, 0), stride=(2, 2))),
    ],
    "aten::instance_norm": [
        (IMAGE, _norm(nn.InstanceNorm2d(4, track_running_stats=True, affine=True))),
        (LINE, _norm(nn.InstanceNorm1d(4, track_running_stats=True))),
    ],
    "aten::_native_batch_norm_legit_no_training": [
        (SOLID, _norm(nn.BatchNorm3d(2))),
        (IMAGE, lambda x: F.batch_norm(x, _draw(4), _mask(4) + 0.5, _draw(4))),
        (IMAGE, _norm(nn.BatchNorm2d(4))),
        (LINE, _norm(nn.BatchNorm1d(4, eps=0.1, affine=False))),
        (VECTOR, _norm(nn.BatchNorm1d(6))),
    ],
    "aten::add": [
        (IMAGE, lambda x: x + x),
        (IMAGE, lambda x: 2.5 + x),
        (IMAGE, lambda x: x + _draw(4, 1, 1)),
        (VECTOR, lambda x: _draw(1, 6) + x),
        (IMAGE, lambda x: x + x.mean((2, 3), keepdim=True)),
        (IMAGE, lambda x: x[:, :1] + x),
        (VECTOR, lambda x: x[:, :, None] + x[:, None]),
        (VECTOR, lambda x: x[:, :, None] + _draw(3)),
        (VECTOR, lambda x: torch.add(x, x.relu(), alpha=2)),
        (VECTOR, lambda x: torch.add(x, _draw(6), alpha=0.3)),
        (VECTOR, lambda x: torch.add(_draw(6), x, alpha=0.3)),
    ],
    "aten::sub": [
        (IMAGE, lambda x: x - x.relu()),
        (VECTOR, lambda x: _draw(6) - x),
        (VECTOR, lambda x: x - 0.3),
        (VECTOR, lambda x: torch.sub(x, x.relu(), alpha=0.3)),
        (VECTOR, lambda x: torch.sub(x, _draw(6), alpha=2)),
    ],
    "aten::subtract": [(VECTOR, lambda x: torch.subtract(x, 2))],
    "aten::multiply": [(VECTOR, lambda x: torch.multiply(x, 2))],
    "aten::divide": [(VECTOR, lambda x: torch.divide(x, 2))],
    "aten::true_divide": [(VECTOR, lambda x: torch.true_divide(x, 3))],
    "aten::negative": [(VECTOR, torch.negative)],
    "aten::rsub": [(VECTOR, lambda x: torch.rsub(x, 2.0)), (VECTOR, lambda x: torch.rsub(x, 2, alpha=3))],
    "aten::where": [
        (LINE, lambda x: torch.where(_mask(7), x, torch.zeros(7))),
        (LINE, lambda x: torch.where(_mask(4, 7), x, x.relu())),
        (LINE, lambda x: torch.where(_mask(4, 1), 0.5, x)),
        (VECTOR, lambda x: torch.where(_mask(3, 1), x[:, None], 1.0)),
    ],
    "aten::masked_fill": [
        (LINE, lambda x: x.masked_fill(_mask(4, 7), 2.0)),
        (VECTOR, lambda x: x.masked_fill(torch.ones_like(x, dtype=torch.bool).logical_not(), 2.0)),
    ],
    "aten::tril": [(LINE, lambda x: x.tril(1))],
    "aten::triu": [(LINE, torch.triu)],
    "aten::mul": [(IMAGE, lambda x: x * _draw(1, 4, 1, 1)), (VECTOR, lambda x: 0.3 * x)],
    "aten::div": [(IMAGE, lambda x: x / _draw(4, 1, 1)), (VECTOR, lambda x: x / 0.3)],
    "aten::neg": [(VECTOR, lambda x: -x)],
    "aten::relu": [(IMAGE, nn.ReLU()), (IMAGE, nn.ReLU(inplace=True)), (VECTOR, F.relu)],
    "aten::abs": [(VECTOR, torch.abs)],
    "aten::prelu": [
        (IMAGE, _slopes(nn.PReLU(4))),
        (VECTOR, nn.PReLU()),
        (LINE, _slopes(nn.PReLU(4))),
        (VECTOR, _slopes(nn.PReLU(6))),
    ],
    "aten::threshold": [(VECTOR, nn.Threshold(0.1, -2.0))],
    "aten::atan": [(VECTOR, torch.atan)],
    "aten::asinh": [(VECTOR, torch.asinh)],
    "aten::erf": [(VECTOR, torch.erf)],
    "aten::sinh": [(VECTOR, torch.sinh)],
    "aten::tan": [(VECTOR, torch.tan)],
    "aten::exp": [(VECTOR, torch.exp)],
    "aten::exp2": [(VECTOR, torch.exp2)],
    "aten::expm1": [(VECTOR, torch.expm1)],
    "aten::cosh": [(VECTOR, torch.cosh)],
    "aten::log": [(VECTOR, lambda x: torch.log(x.abs() + 0.1))],
    "aten::log2": [(VECTOR, lambda x: torch.log2(x.abs() + 0.1))],
    "aten::log1p": [(VECTOR, lambda x: torch.log1p(x.abs()))],
    "aten::log_sigmoid": [(VECTOR, nn.LogSigmoid())],
    "aten::softplus": [(VECTOR, nn.Softplus()), (VECTOR, nn.Softplus(2.0, 1.0))],
    "aten::elu": [(VECTOR, nn.ELU()), (VECTOR, nn.ELU(2.5)), (VECTOR, nn.ELU(0.3, inplace=True))],
    "aten::celu": [(VECTOR, nn.CELU(0.7))],
    "aten::selu": [(VECTOR, nn.SELU())],
    "aten::gelu": [(VECTOR, nn.GELU()), (VECTOR, nn.GELU(approximate="tanh"))],
    "aten::silu": [(VECTOR, nn.SiLU())],
    "aten::mish": [(VECTOR, nn.Mish())],
    "aten::hardswish": [(VECTOR, lambda x: F.hardswish(3 * x))],
    "aten::hardsigmoid": [(VECTOR, lambda x: F.hardsigmoid(3 * x))],
    "aten::sqrt": [(VECTOR, lambda x: x.abs().sqrt())],
    "aten::rsqrt": [(VECTOR, lambda x: (x.abs() + 0.1).rsqrt())],
    "aten::reciprocal": [(VECTOR, lambda x: 1 / (x.abs() + 0.1)), (VECTOR, lambda x: x.exp().reciprocal())],
    "aten::square": [(VECTOR, torch.square)],
    "aten::pow": [
        (VECTOR, lambda x: x**2),
        (VECTOR, lambda x: x**3),
        (VECTOR, lambda x: x.abs() ** 0.5),
        (VECTOR, lambda x: x.exp() ** -2),
        (VECTOR, lambda x: x**1),
        (VECTOR, lambda x: torch.pow(x, torch.tensor(3.0))),
        (VECTOR, lambda x: 2**x),
        (VECTOR, lambda x: 0.3**x),
        (VECTOR, lambda x: torch.pow(torch.tensor([2.7]), x)),
    ],
    "aten::sin": [(VECTOR, torch.sin)],
    "aten::cos": [(VECTOR, torch.cos)],
    "aten::floor": [(VECTOR, lambda x: torch.floor(4 * x))],
    "aten::ceil": [(VECTOR, lambda x: torch.ceil(4 * x))],
    "aten::trunc": [(VECTOR, lambda x: torch.trunc(4 * x))],
    "aten::round": [(VECTOR, lambda x: torch.round(4 * x))],
    "aten::sign": [(VECTOR, torch.sign)],
    "aten::sgn": [(VECTOR, torch.sgn)],
    "aten::fix": [(VECTOR, lambda x: torch.fix(4 * x))],
    "aten::clip": [(VECTOR, lambda x: x.clip(-0.3, 0.4))],
    "aten::special_expit": [(VECTOR, torch.special.expit)],
    "aten::gt": [(VECTOR, lambda x: (x > 0.2).float()), (VECTOR, lambda x: (x > x.roll(1, 1)) * x)],
    "aten::ge": [(VECTOR, lambda x: (x >= 0.2).to(x.dtype))],
    "aten::lt": [(VECTOR, lambda x: torch.where(x < 0.2, x, 2 * x))],
    "aten::le": [
        (VECTOR, lambda x: torch.where(x <= 0.2, 1.0, x)),
        (VECTOR, lambda x: torch.where(x <= 0, 1.0, 3.0)),
    ],
    "aten::logical_not": [(VECTOR, lambda x: (x > 0).logical_not() * x)],
    "aten::bitwise_not": [(VECTOR, lambda x: ~(x > 0) * x)],
    "aten::logical_and": [(VECTOR, lambda x: (x > 0).logical_and(x < 0.5) * x)],
    "aten::__and__": [(VECTOR, lambda x: ((x > 0) & (x < 0.5)) * x)],
    "aten::bitwise_and": [(VECTOR, lambda x: torch.bitwise_and(x > 0, x < 0.5) * x)],
    "aten::logical_or": [(VECTOR, lambda x: (x < 0).logical_or(x > 0.5) * x)],
    "aten::__or__": [(VECTOR, lambda x: ((x < 0) | (x > 0.5)) * x)],
    "aten::bitwise_or": [(VECTOR, lambda x: torch.bitwise_or(x < 0, x > 0.5) * x)],
    "aten::heaviside": [(VECTOR, lambda x: torch.heaviside(x, torch.tensor(1.0)))],
    "aten::leaky_relu": [
        (VECTOR, nn.LeakyReLU(1.5)),
        (VECTOR, nn.LeakyReLU(-0.5)),
        (VECTOR, nn.LeakyReLU(0.2)),
        (VECTOR, nn.LeakyReLU(0.2, inplace=True)),
    ],
    "aten::sigmoid": [(VECTOR, nn.Sigmoid())],
    "aten::tanh": [(VECTOR, torch.tanh)],
    "aten::clamp": [(VECTOR, lambda x: x.clamp(-0.3, 0.4)), (VECTOR, lambda x: x.clamp(max=0.4))],
    "aten::clamp_max": [(VECTOR, lambda x: torch.clamp_max(x, 0.1))],
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
    "aten::expand": [
        ((1, 5), lambda x: x.expand(-1, 4, 5)),
        (VECTOR, lambda x: x[:, None].expand(-1, 3, -1)),
        (VECTOR, lambda x: x[:, :, None].expand(len(x), 6, 2)),
    ],
    "aten::repeat": [(LINE, lambda x: x.repeat(1, 2, 3)), (VECTOR, lambda x: x[:, None].repeat(1, 3, 1))],
    "aten::tile": [(LINE, lambda x: x.tile(1, 2))],
    "aten::repeat_interleave": [
        (LINE, lambda x: x.repeat_interleave(2, 1)),
        (LINE, lambda x: x.repeat_interleave(torch.tensor([1, 2, 0, 3]), dim=1)),
    ],
    "aten::roll": [(IMAGE, lambda x: torch.roll(x, (1, -2), (2, 3)))],
    "aten::flip": [(IMAGE, lambda x: x.flip(2, 3))],
    "aten::fliplr": [(LINE, torch.fliplr)],
    "aten::rot90": [(IMAGE, lambda x: torch.rot90(x, 1, (2, 3)))],
    "aten::channel_shuffle": [(IMAGE, nn.ChannelShuffle(2))],
    "aten::pixel_shuffle": [(IMAGE, nn.PixelShuffle(2))],
    "aten::pixel_unshuffle": [((2, 4, 6), nn.PixelUnshuffle(2))],
    "aten::index": [
        (VECTOR, lambda x: x[:, [0, 0, 3]]),
        (VECTOR, lambda x: x[:, _mask(6)]),
        (IMAGE, lambda x: x[:, torch.tensor([1, 1]), torch.tensor([0, 2])]),
        (IMAGE, lambda x: x[..., torch.tensor([[0, 1], [1, 2]])]),
        (IMAGE, lambda x: x[:, torch.tensor([1, 0])[:, None], torch.tensor([0, 5, 5])]),
    ],
    "aten::gather": [(LINE, lambda x: x.gather(1, _batched(x, 2, 7).long().abs()))],
    "aten::take_along_dim": [(VECTOR, lambda x: torch.take_along_dim(x, torch.tensor([[0, 0, 2]]), 1))],
    "aten::diagonal": [(LINE, lambda x: x.diagonal(1, dim1=1, dim2=2))],
    "aten::diag_embed": [(VECTOR, torch.diag_embed)],
    "aten::unfold": [(LINE, lambda x: x.unfold(2, 3, 2))],
    "aten::im2col": [(IMAGE, nn.Unfold((2, 3), padding=(1, 0), stride=(2, 1)))],
    "aten::copy": [(VECTOR, _write_slice)],
    "aten::fill": [(VECTOR, _write_column)],
    "aten::slice_scatter": [(VECTOR, _write_slice), (VECTOR, _scale_slice)],
    "aten::select_scatter": [(VECTOR, _write_column)],
    "aten::index_add": [
        (VECTOR, lambda x: x.index_add(1, torch.tensor([5, 0, 5]), x[:, :3].relu(), alpha=-2)),
        (IMAGE, lambda x: torch.zeros(len(x), 3, *x.shape[2:]).index_add(1, torch.tensor([2, 2, 0, 1]), x)),
        (LINE, lambda x: x.index_add(-1, torch.tensor([1, 0]), torch.ones(4, 2).expand(len(x), 4, 2))),
    ],
    "aten::index_copy": [
        (VECTOR, lambda x: torch.zeros(len(x), 8).index_copy(1, torch.tensor([0, 2, 3, 4, 5, 7]), x)),
    ],
    "aten::scatter": [
        (VECTOR, lambda x: x.scatter(1, torch.tensor([[3, 1]]).expand(len(x), -1), 0.5)),
        (VECTOR, lambda x: x.scatter(1, torch.tensor([[3, 1]]).expand(len(x), -1), -x[:, :2])),
    ],
    "aten::cumsum": [(LINE, lambda x: x.cumsum(1)), (IMAGE, lambda x: x.cumsum(-1))],
    "aten::diff": [(LINE, lambda x: x.diff(dim=2)), (LINE, lambda x: x.diff(n=2, dim=1))],
    "aten::index_put": [(IMAGE, _write_points)],
    "aten::as_strided": [(LINE, lambda x: x.clone().as_strided((len(x), 4, 3), (28, 7, 2)))],
    "aten::empty_like": [(VECTOR, lambda x: torch.empty_like(x).copy_(x))],
    "aten::new_empty": [(VECTOR, lambda x: x.new_empty(len(x), 6).copy_(x))],
    "aten::addcmul": [
        (VECTOR, lambda x: torch.addcmul(x, _draw(6), x, value=0.3)),
        (VECTOR, lambda x: torch.addcmul(_draw(6), x, _draw(6))),
        (VECTOR, lambda x: torch.addcmul(x, _draw(6), _draw(1), value=2)),
    ],
    "aten::addcdiv": [
        (VECTOR, lambda x: torch.addcdiv(x, x, _draw(6), value=0.3)),
        (VECTOR, lambda x: torch.addcdiv(x, _draw(6), _draw(6) * 3)),
    ],
    "aten::lerp": [
        (VECTOR, lambda x: torch.lerp(x, x.relu(), 0.3)),
        (VECTOR, lambda x: torch.lerp(x, _draw(6), _draw(6))),
    ],
    "aten::zeros_like": [(VECTOR, lambda x: torch.cat([x, torch.zeros_like(x)], 1))],
    "aten::ones_like": [(VECTOR, lambda x: torch.ones_like(x) - x)],
    "aten::full_like": [(VECTOR, lambda x: torch.full_like(x, 2.0) * x)],
    "aten::new_zeros": [(VECTOR, lambda x: torch.cat([x, x.new_zeros(len(x), 2)], 1))],
    "aten::new_ones": [(VECTOR, lambda x: x + x.new_ones(6))],
    "aten::new_full": [(VECTOR, lambda x: x * x.new_full((6,), 2.0))],
    "aten::sym_size": [(VECTOR, lambda x: x[:, torch.tensor([True, False] * 3)])],
    "aten::hstack": [(VECTOR, lambda x: torch.hstack([x, -x]))],
    "aten::column_stack": [(VECTOR, lambda x: torch.column_stack([x, -x]))],
    "aten::concat": [(LINE, lambda x: torch.concat([x, x], 2))],
    "aten::concatenate": [(LINE, lambda x: torch.concatenate([x, -x], 1))],
    "aten::alias": [(VECTOR, torch.ops.aten.alias)],
    "aten::type_as": [(VECTOR, lambda x: x.type_as(x))],
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
    "aten::index_select": [
        (IMAGE, lambda x: x.index_select(1, torch.tensor([2, 0, 3]))),
        (IMAGE, lambda x: x.index_select(2, torch.tensor([1, 1, 0]))),
    ],
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
        (IMAGE, nn.ReflectionPad2d((1, 2, 0, 3))),
        (IMAGE, nn.ReplicationPad2d(2)),
        (IMAGE, nn.CircularPad2d((1, 2, 3, 0))),
        (IMAGE, nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect")),
        (LINE, nn.ReflectionPad1d(2)),
        (SOLID, nn.ReplicationPad3d(1)),
    ],
    "aten::constant_pad_nd": [(LINE, lambda x: torch.constant_pad_nd(x, (1, -2), 0.5))],
    **{
        f"aten::{kind}_pad{n}d": [_native_pad(kind, n)]
        for kind in ("reflection", "replication")
        for n in (1, 2, 3)
    },
    "aten::upsample_nearest1d": [(LINE, nn.Upsample(scale_factor=2)), (LINE, nn.Upsample(size=11))],
    "aten::upsample_nearest2d": [
        (IMAGE, nn.Upsample(scale_factor=2)),
        (IMAGE, nn.Upsample(scale_factor=(1.7, 0.6))),
        (IMAGE, nn.Upsample(size=(9, 3))),
    ],
    "aten::upsample_nearest3d": [(SOLID, nn.Upsample(scale_factor=2))],
    "aten::_upsample_nearest_exact1d": [(LINE, nn.Upsample(size=5, mode="nearest-exact"))],
    "aten::_upsample_nearest_exact2d": [(IMAGE, nn.Upsample(scale_factor=1.6, mode="nearest-exact"))],
    "aten::_upsample_nearest_exact3d": [(SOLID, nn.Upsample(size=(3, 7, 4), mode="nearest-exact"))],
    "aten::upsample_linear1d": [
        (LINE, nn.Upsample(scale_factor=2, mode="linear")),
        (LINE, nn.Upsample(size=5, mode="linear", align_corners=True)),
    ],
    "aten::upsample_bilinear2d": [
        (IMAGE, nn.Upsample(scale_factor=1.5, mode="bilinear", align_corners=True)),
        (IMAGE, nn.Upsample(scale_factor=1.7, mode="bilinear")),
        (IMAGE, nn.Upsample(size=(9, 3), mode="bilinear")),
        (IMAGE, lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True)),
    ],
    "aten::upsample_trilinear3d": [(SOLID, nn.Upsample(scale_factor=2, mode="trilinear"))],
    "aten::upsample_bicubic2d": [(IMAGE, nn.Upsample(size=(9, 3), mode="bicubic"))],
    "aten::_upsample_bilinear2d_aa": [
        (IMAGE, lambda x: F.interpolate(x, size=(3, 2), mode="bilinear", antialias=True)),
    ],
    "aten::_upsample_bicubic2d_aa": [
        (IMAGE, lambda x: F.interpolate(x, size=(4, 7), mode="bicubic", antialias=True)),
    ],
    "aten::mean": [
        (IMAGE, lambda x: x.mean((1, 2, 3), keepdim=True)),
        (LINE, lambda x: x.mean((-1, 1))[:, None]),
        (IMAGE, lambda x: x.mean((2, 3))),
        (IMAGE, lambda x: x.mean(1, keepdim=True)),
    ],
    "aten::sum": [(IMAGE, lambda x: x.sum(-1)), (VECTOR, lambda x: x.sum(1, keepdim=True))],
    "aten::avg_pool1d": [(LINE, nn.AvgPool1d(3, stride=2, padding=1)), (LINE, nn.AvgPool1d(2))],
    "aten::avg_pool2d": [
        (IMAGE, nn.AvgPool2d(2)),
        (IMAGE, nn.AvgPool2d((3, 2), stride=(2, 1), padding=1, ceil_mode=True)),
        (IMAGE, nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
        (IMAGE, nn.AvgPool2d((3, 2), 2, 1, divisor_override=3, ceil_mode=True)),
    ],
    "aten::avg_pool3d": [
        (SOLID, nn.AvgPool3d(2)),
        (SOLID, nn.AvgPool3d((3, 2, 2), 2, 1, count_include_pad=False)),
        (SOLID, nn.AvgPool3d(2, divisor_override=5)),
    ],
    "aten::adaptive_avg_pool3d": [
        (SOLID, nn.AdaptiveAvgPool3d(1)),
        (SOLID, nn.AdaptiveAvgPool3d((3, 5, 2))),
    ],
    "aten::adaptive_avg_pool1d": [(LINE, nn.AdaptiveAvgPool1d(3))],
    "aten::adaptive_avg_pool2d": [
        (IMAGE, nn.AdaptiveAvgPool2d(1)),
        (IMAGE, nn.AdaptiveAvgPool2d((4, 2))),
        (IMAGE, nn.AdaptiveAvgPool2d((3, 5))),
        (IMAGE, nn.AdaptiveAvgPool2d((9, 7))),
    ],
}
