"""What every attack must do besides what every decider must: the pitfalls of published attacks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from certify.decide import evaluate
from certify.evidence import NONFINITE, Claim, Decider, Evidence
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import Budgeted, Linf
from certify.verdict import Verdict
from tests.certify.conformance import DeciderConformance
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform

SHAPES = [(6,), (1, 3, 2), (3, 4, 4), (2, 2, 2, 2)]


class AttackConformance(DeciderConformance):
    """Inherit, give ``decider`` and, where the default does not fit, ``threat``; get every check.

    threat: a threat that the attack can answer, under which the toy network has robust and attackable
    samples. weak: for attacks that are not expected to find the optimum of a linear model of six inputs.
    """

    weak = False

    def decider(self) -> Decider:
        raise NotImplementedError

    def threat(self) -> Budgeted:
        return Linf(0.2)

    def query(self) -> Query:
        model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
        x = uniform(12, 2, seed=5)
        return Query(model, x, right_answers(model, x), self.threat(), tuple(range(100, 112)))

    def ask(self, query: Query) -> list[Evidence]:
        return self.decider().decide(query, Run())

    def test_an_attack_only_finds_counterexamples_and_tells_its_cost(self) -> None:
        assert self.decider().claims == {Claim.FALSIFIED}
        for each in self.answers():
            assert int(each.detail["forwards"]) >= 1
            assert each.seconds > 0

    @pytest.mark.parametrize("change", [(1e3, 0.0), (1e-4, 0.0), (1.0, 100.0), (1.0, -100.0)])
    def test_the_scale_and_shift_of_logits_change_nothing(self, change: tuple[float, float]) -> None:
        query, (scale, shift) = self.query(), change
        forward = query.model.forward
        other = replace(query.model, forward=lambda z: scale * forward(z) + shift)
        asked = Query(other, query.x, query.y, query.threat, query.samples)
        broken = [[each.witness is not None for each in self.ask(q)] for q in (query, asked)]
        assert broken[0] == broken[1]

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_outputs_that_are_no_numbers_are_an_error_and_never_a_success(self, bad: float) -> None:
        query = self.query()
        forward = query.model.forward

        def broken(z: Tensor) -> Tensor:
            started = (z[:, None] == query.x).flatten(2).all(2).any(1)
            return torch.where(started[:, None], forward(z), forward(z) * 0 + bad)

        model = replace(query.model, forward=broken)
        answers = self.ask(Query(model, query.x, query.y, query.threat, query.samples))
        assert all(each.witness is None for each in answers)
        assert all(NONFINITE in each.detail for each in answers)
        result = evaluate(model, query.x, query.y, query.threat, [self.decider()])
        assert {each.verdict for each in result.samples} == {Verdict.ERROR}

    def test_a_model_that_is_no_number_anywhere_is_survived(self) -> None:
        query = self.query()
        model = replace(
            query.model, forward=lambda z: z.flatten(1).sum(1, keepdim=True).expand(-1, 3) * math.nan
        )
        answers = self.ask(Query(model, query.x, query.y, query.threat, query.samples))
        assert all(each.witness is None and NONFINITE in each.detail for each in answers)

    def test_zero_gradients_do_not_make_points_that_are_no_numbers(self) -> None:
        query = self.query()
        seen: list[Tensor] = []

        def flat(z: Tensor) -> Tensor:
            seen.append(z.detach())
            return z.flatten(1).sum(1, keepdim=True) * 0 + torch.tensor([1.0, 0.0, 0.0], dtype=z.dtype)

        model = replace(query.model, forward=flat)
        answers = self.ask(Query(model, query.x, torch.zeros_like(query.y), self.threat(), query.samples))
        assert all(each.witness is None for each in answers)
        low, high = query.model.input_range or (-math.inf, math.inf)
        assert all(((z >= low) & (z <= high)).all() for z in seen)

    def test_saturated_elements_can_move(self) -> None:
        model, query = self._linear((6,), 2, torch.float64)
        x = (query.x > 0.5).double()
        y = right_answers(model, x)
        asked = Query(model, x, y, self._far(model, x, y), query.samples)
        share = sum(each.witness is not None for each in self.ask(asked)) / len(x)
        assert share >= (0.5 if self.weak else 1)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    def test_works_in_every_dtype(self, dtype: torch.dtype) -> None:
        query = self._linear((6,), 3, dtype)[1]
        self._finds_something(query, dtype)

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_works_on_inputs_of_every_shape(self, shape: tuple[int, ...]) -> None:
        self._finds_something(self._linear(shape, 3, torch.float64)[1], torch.float64)

    def test_works_on_channels_last(self) -> None:
        query = self._linear((3, 4, 4), 3, torch.float64)[1]
        x = query.x.contiguous(memory_format=torch.channels_last)
        other = Query(query.model, x, query.y, query.threat, query.samples)
        found = [[each.witness is not None for each in self.ask(q)] for q in (query, other)]
        assert found[0] == found[1]

    @pytest.mark.parametrize("classes", [2, 3, 4, 5, 9])
    def test_works_with_few_classes(self, classes: int) -> None:
        self._finds_something(self._linear((6,), classes, torch.float64)[1], torch.float64)

    def test_an_empty_batch_is_answered_by_nothing(self) -> None:
        query = self.query()
        assert self.ask(query[torch.zeros(len(query.x), dtype=torch.bool)]) == []

    def _finds_something(self, query: Query, dtype: torch.dtype) -> None:
        """A linear model is broken on most samples, inside the region."""
        answers = self.ask(query)
        found = [each.witness for each in answers if each.witness is not None]
        assert len(found) >= (1 if self.weak else len(answers) // 2)
        assert {point.dtype for point in found} == {dtype}
        keep = torch.tensor([each.witness is not None for each in answers])
        assert query[keep].region.contains(torch.stack(found)).all()

    def _linear(self, shape: tuple[int, ...], classes: int, dtype: torch.dtype) -> tuple[Model, Query]:
        """A linear model that can be broken on every sample, with a budget that is enough."""
        weight = normal(classes, math.prod(shape), seed=11)

        def forward(z: Tensor) -> Tensor:
            return (z - 0.5).flatten(1) @ weight.to(z.dtype).T

        model = model_of(forward, shape, classes, (0.0, 1.0))
        x = uniform(8, *shape, seed=12).to(dtype)
        y = right_answers(model, x)
        return model, Query(model, x, y, self._far(model, x, y), tuple(range(8)))

    def _far(self, model: Model, x: Tensor, y: Tensor) -> Budgeted:
        """A budget that allows every change of the toy's inputs."""
        size = x[0].numel()
        largest = {math.inf: 1.0, 2: math.sqrt(size)}.get(self.threat().norm or 0, float(size))
        return self.threat().at(largest)
