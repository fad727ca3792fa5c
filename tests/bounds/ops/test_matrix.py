"""The page of operators says what the code can do."""

from pathlib import Path

import bounds.ops
from bounds.kinds import Operator
from bounds.ops.__main__ import KINDS, capabilities, matrix, operators
from bounds.ops.minmax import MaxPool
from bounds.ops.softmax import Softmax


def every() -> list[type[Operator]]:
    return [op for kind in KINDS for op in operators(kind)]


def test_the_committed_page_is_current() -> None:
    page = Path(bounds.ops.__file__).with_name("OPERATORS.md").read_text()
    assert page == matrix() + "\n", "run: python -m bounds.ops > bounds/ops/OPERATORS.md"


def test_every_operator_and_importer_is_on_the_page() -> None:
    page = matrix()
    assert all(f"| {op.__name__} |" in page for op in every())
    names = [*bounds.ops.TORCH.importers, *bounds.ops.ONNX.importers]
    listed = set(page.replace("|", ",").replace("\n", ",").replace(" ", "").split(","))
    assert all(name.removeprefix("aten::") in listed for name in names)


def test_deployed_is_claimed_of_faithful_composites_alone() -> None:
    composite = KINDS[3]
    assert capabilities(MaxPool, composite)[7] == "+"
    assert capabilities(Softmax, composite)[7] == "-"
