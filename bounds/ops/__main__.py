"""``python -m bounds.ops``: which operator is bounded by which analysis, and what it is called."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from inspect import isabstract

from bounds.kinds import Affine, Bilinear, Composite, Operator, Pointwise
from bounds.ops.derivative import Slopes, derivative
from bounds.ops.registry import ONNX, TORCH, Importer

KINDS: tuple[type[Operator], ...] = (Affine, Pointwise, Bilinear, Composite)
COLUMNS = (
    "operator",
    "kind",
    "IBP",
    "forward",
    "CROWN",
    "alpha",
    "real",
    "deployed",
    "windows",
    "derivative",
)


REFUSED = tuple(derivative.dispatch(kind) for kind in (object, Slopes))

_LEGEND = (
    "What `python -m bounds.ops` prints. `=`: without loss; `+`: with a sound relaxation; `-`: refused with "
    "a message that names the operator and the remedy. `alpha`: whether gradient steps choose its slopes. "
    "`windows`: whether rows over images stay windows. A composite is bounded as a combination of others."
)


def operators(kind: type[Operator]) -> Iterator[type[Operator]]:
    """All concrete operators of a kind that stand in this package."""
    for child in kind.__subclasses__():
        if child.__module__.startswith("bounds.ops.") and not isabstract(child):
            yield child
        yield from operators(child)


def capabilities(op: type[Operator], kind: type[Operator]) -> tuple[str, ...]:
    """One row of the matrix: "=" without loss, "+" with a relaxation, "-" refused with a reason."""
    exact = "=" if kind is Affine else "+"
    slopes = "+" if kind is Pointwise else exact
    deployed = "+" if kind is not Composite or (issubclass(op, Composite) and op.faithful) else "-"
    own_windows = issubclass(op, Affine) and op.adjoint_patch is not Affine.adjoint_patch
    windows = "+" if own_windows or kind is Pointwise else "-"
    named = (op.__name__, kind.__name__.lower())
    return (*named, "+", exact, exact, slopes, "+", deployed, windows, _derivative(op))


def _derivative(op: type[Operator]) -> str:
    """Whether ``bounds.jacobian`` goes through: pointwise functions need a derivative of their own."""
    if not issubclass(op, Pointwise):
        return "+"
    return "-" if derivative.dispatch(op) in REFUSED else "+"


def names(importers: dict[str, Importer], module: str) -> str:
    """What a front end calls the operators of one file."""
    found = sorted(name for name, importer in importers.items() if importer.__module__ == module)
    return ", ".join(name.removeprefix("aten::") for name in found) or "-"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def matrix() -> str:
    """The whole page: the operators by capability, and their names in both front ends by file."""
    every = [(op, kind) for kind in KINDS for op in dict.fromkeys(operators(kind))]
    rows = [
        capabilities(op, kind) for op, kind in sorted(every, key=lambda e: (KINDS.index(e[1]), e[0].__name__))
    ]
    modules = sorted({i.__module__ for i in (*TORCH.importers.values(), *ONNX.importers.values())})
    called = [(m.rpartition(".")[2], names(TORCH.importers, m), names(ONNX.importers, m)) for m in modules]
    return "\n\n".join(
        (
            "# Operators",
            _LEGEND,
            table(COLUMNS, rows),
            "Names in the front ends, by file of `bounds/ops`:",
            table(("file", "torch (aten)", "ONNX"), called),
        )
    )


if __name__ == "__main__":
    sys.stdout.write(matrix() + "\n")
