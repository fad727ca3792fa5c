"""Counterexamples as text, in the format of VNN-COMP."""

from __future__ import annotations

from torch import Tensor

from bounds.errors import InvalidInput


def format_counterexample(x: Tensor, y: Tensor) -> str:
    """One input and its output as ``((X_0 v) ... (Y_0 v) ...)``, one variable a line.

    x, y: one point each, of any shape, flattened in order. Decimals are the shortest that read back as the
    same float64, so a float32 value is printed exactly enough to be restored.
    Raises ``InvalidInput`` for NaN or Inf.
    """
    lines = []
    for letter, values in (("X", x), ("Y", y)):
        if not values.isfinite().all():
            raise InvalidInput(f"{letter} of a counterexample holds NaN or Inf")
        flat = values.detach().flatten().double().tolist()
        lines += [f"({letter}_{index} {value!r})" for index, value in enumerate(flat)]
    body = "\n ".join(lines)
    return f"({body})"
