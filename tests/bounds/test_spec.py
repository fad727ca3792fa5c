"""Specifications: margins in class order, and the deciding value of a conjunctive normal form."""

import pytest
import torch

import bounds


def test_margins_follow_class_order() -> None:
    spec = bounds.margins(torch.tensor([1, 0]), 3)
    y = torch.tensor([[5.0, 7.0, 4.0], [1.0, 2.0, 3.0]])
    assert spec.evaluate(y).tolist() == [[2.0, 3.0], [-1.0, -2.0]]
    assert spec.worst(spec.evaluate(y)).tolist() == [2.0, -2.0]


def test_a_tie_does_not_hold() -> None:
    spec = bounds.margins(torch.tensor([0]), 2)
    assert not (spec.worst(spec.evaluate(torch.tensor([[1.0, 1.0]]))) > 0).any()


def test_worst_is_the_weakest_clause_by_its_strongest_row() -> None:
    g = torch.Generator().manual_seed(1)
    for _ in range(50):
        clause = torch.randint(0, 3, (4, 6), generator=g)
        spec = bounds.Spec(torch.randn(4, 6, 2, generator=g), torch.randn(4, 6, generator=g), clause)
        rows = spec.evaluate(torch.randn(4, 2, generator=g))
        for i in range(4):
            best = {int(c): float(rows[i][clause[i] == c].max()) for c in clause[i].unique()}
            assert float(spec.worst(rows)[i]) == min(best.values())


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [([3], 3, "label 3 is out of range"), ([-1], 3, "label -1"), ([0], 1, "two classes")],
)
def test_bad_labels_are_refused(labels: list[int], classes: int, message: str) -> None:
    with pytest.raises(bounds.InvalidInput, match=message):
        bounds.margins(torch.tensor(labels), classes)


def test_bad_specifications_are_refused() -> None:
    one = torch.ones(1, 2, 3)
    for matrix, offset, clause in [
        (one[0], torch.zeros(1, 2), None),
        (one, torch.zeros(2, 2), None),
        (one, torch.zeros(1, 2), torch.zeros(1, 3, dtype=torch.int64)),
        (one, torch.zeros(1, 2), torch.tensor([[0, -1]])),
        (one, torch.zeros(1, 2), torch.zeros(1, 2)),
        (one * torch.inf, torch.zeros(1, 2), None),
    ]:
        with pytest.raises(bounds.InvalidInput):
            bounds.Spec(matrix, offset, clause)


def test_no_sample_has_no_value() -> None:
    clause = torch.tensor([[0, 0, 1], [0, 1, 1]])
    spec = bounds.Spec(torch.ones(2, 3, 2), torch.zeros(2, 3), clause)[torch.tensor([], dtype=torch.long)]
    assert spec.worst(torch.zeros(0, 3)).shape == (0,)
