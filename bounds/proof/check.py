"""The checker: it goes down every tree of a proof and accepts a leaf where its own bound is > 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bounds.proof.arithmetic import Exact, Floats, probe
from bounds.proof.chain import Chain, Cuts, Facts, Rows
from bounds.proof.file import digest
from bounds.proof.format import Array, Clause, Part, Proof, Statement, Tree, Witness
from bounds.proof.onnx import read_network
from bounds.proof.refused import Refused

_MEMORY = 2**27  # bytes of the facts of a batch of leaves


@dataclass(frozen=True)
class Checked:
    """What was accepted. leaves: how many pieces; least: the smallest bound, or None for a witness."""

    leaves: int
    least: float | None


class Checker:
    """A network at a level, ready to bound leaves.

    data: an ONNX file's bytes. exact: in fractions, for small networks of affine steps and ReLUs at level
    "real". Raises ``Refused`` for networks that cannot be read.
    """

    def __init__(self, data: bytes, level: str, exact: bool = False) -> None:
        probe()
        if exact and level != "real":
            raise Refused("level", f"exact arithmetic says nothing of level {level!r}")
        self.digest = digest(data)
        self.level = level
        with np.errstate(all="ignore"):
            network = read_network(data, Exact() if exact else Floats(), level == "deployed")
        self.chain = Chain(network, Exact() if exact else Floats(), level == "deployed")
        if level == "deployed":
            for step in network.steps:
                if getattr(step.does, "executed", 0) < 0:
                    raise Refused(step.name, "executions may fold it into others; use level 'real'")
        self._root: tuple[object, Facts] | None = None

    def fits(self, statement: Statement) -> None:
        """Refuse a statement about another model, another level or other sizes."""
        network, part = self.chain.network, statement.parts[0]
        if statement.model != self.digest:
            raise Refused("statement", "it is about another model")
        if statement.level != self.level:
            raise Refused("statement", f"it is about level {statement.level!r}, not {self.level!r}")
        if part.lower.size != network.inputs or part.clauses[0].rows.shape[1] != network.size(network.output):
            raise Refused("statement", "it has other numbers of inputs or outputs than the model")

    def bounds(self, part: Part, tree: Tree) -> Array:
        """Of each leaf and clause of a tree a lower bound of its mixture: (leaves, clauses).

        Infinite where the splits leave nothing; NaN where nothing is known. The tree proves its clauses where
        all are > 0.
        """
        self._fit(tree)
        with np.errstate(all="ignore"):
            known = self._known(part, tree) if tree.hidden == "root" else None
            found = [self._leaves(part, tree, leaves, known) for leaves in self._batches(tree)]
        return np.concatenate(found)

    def _fit(self, tree: Tree) -> None:
        network = self.chain.network
        values = self._values()
        sizes = np.array([network.size(v) for v in values])
        if tree.hidden_set.size != len(values) - 1:
            raise Refused("tree", f"hidden_set speaks of {tree.hidden_set.size} steps, not {len(values) - 1}")
        if tree.slopes.shape not in ((0, 0), (len(tree.slopes), sizes[1:].sum())):
            raise Refused("tree", f"slopes speak of {tree.slopes.shape[1]} elements, not {sizes[1:].sum()}")
        if bool((tree.layer >= len(values)).any()) or bool((tree.element >= sizes[tree.layer]).any()):
            raise Refused("tree", "it splits what is not there")

    def _values(self) -> list[int]:
        """The value that each layer of splits speaks of: the input, and what enters the nonlinear steps."""
        network = self.chain.network
        return [0, *(network.steps[k].inputs[0] for k in network.functions)]

    def _batches(self, tree: Tree) -> Iterator[slice]:
        """Leaves in parts that fit into memory."""
        size = 1 + sum(step.size for step in self.chain.network.steps)
        most = min(_MEMORY // (100 * size), self.chain.rows_at_once // tree.clauses.size)
        for first in range(0, tree.num_leaves, max(1, most)):
            yield slice(first, min(first + max(1, most), tree.num_leaves))

    def _hidden(self, tree: Tree) -> Array:
        """The slope codes of rows over each value."""
        codes = np.zeros((len(self.chain.network.steps) + 1, tree.slopes.shape[1]), np.uint8)
        for value, number in zip(self._values()[1:], tree.hidden_set.tolist(), strict=True):
            if number:
                codes[value] = tree.slopes[number - 1]
        return codes

    def _known(self, part: Part, tree: Tree) -> Facts:
        """The facts of a whole box, which are kept for the next tree."""
        codes = self._hidden(tree)
        key = (part.lower.tobytes(), part.upper.tobytes(), codes.tobytes())
        if self._root is None or self._root[0] != key:
            a = self.chain.a
            box = a.array(part.lower)[None], a.array(part.upper)[None]
            self._root = key, self.chain.forward(*box, None, None, codes)
        return self._root[1]

    def _leaves(self, part: Part, tree: Tree, leaves: slice, known: Facts | None) -> Array:
        a, count = self.chain.a, leaves.stop - leaves.start
        path = slice(*np.searchsorted(tree.path_leaf, [leaves.start, leaves.stop]).tolist())
        split = tree.path_split[path]
        cuts = Cuts(
            tree.path_leaf[path] - leaves.start,
            np.array(self._values())[tree.layer[split]],
            tree.element[split],
            tree.path_side[path],
            a.array(tree.at[split]),
        )
        low, high = (np.tile(a.array(end), (count, 1)) for end in (part.lower, part.upper))
        codes = self._hidden(tree) if tree.hidden == "leaf" else None
        facts = self.chain.forward(low, high, cuts, known, codes)
        rows = self._asked(part, tree, leaves, facts, cuts, a.array(tree.multipliers[path]))
        bounds = self.chain.lower(facts, rows).reshape(count, tree.clauses.size)
        return np.where(facts.empty[:, None], np.inf, bounds)

    def _asked(
        self, part: Part, tree: Tree, leaves: slice, facts: Facts, cuts: Cuts, multipliers: Array
    ) -> Rows:
        """One row for each leaf and clause: the mixture of the clause's alternatives."""
        output, count = self.chain.network.output, leaves.stop - leaves.start
        clauses = [part.clauses[c] for c in tree.clauses]
        weights = self.chain.a.array(tree.weights[leaves])
        ends = np.cumsum([0, *(len(clause.rows) for clause in clauses)])
        mixed = [
            self._mixture(clause, weights[:, first:last], facts.size(output))
            for clause, first, last in zip(clauses, ends[:-1], ends[1:], strict=True)
        ]
        rows = np.stack([row for row, _ in mixed], 1).reshape(count * len(clauses), -1)
        constant = np.stack([constant for _, constant in mixed], 1).reshape(-1)
        chosen = tree.chosen[leaves].reshape(-1)
        codes = None
        if chosen.any():
            codes = np.concatenate([np.zeros((1, tree.slopes.shape[1]), np.uint8), tree.slopes])[chosen]
        piece = np.arange(count).repeat(len(clauses))
        return Rows(output, rows, piece, constant, cuts, multipliers, codes)

    def _mixture(self, clause: Clause, weights: Array, size: Array) -> tuple[Array, Array]:
        """Weights (leaves, alternatives) times a clause's rows: (leaves, outputs), constant (leaves,)."""
        a = self.chain.a
        rows, offset = a.array(clause.rows), a.array(clause.offset)
        magnitude = size @ np.abs(rows).T + np.abs(offset)
        off = a.gamma(sum(rows.shape) + 8) * (weights * magnitude).sum(1) + a.tiny * (1 + magnitude.max(1))
        return weights @ rows, a.down(a.down(weights @ offset) - off)

    def refutes(self, part: Part, witness: Witness) -> bool:
        """Whether all alternatives of some clause are <= 0 at a point, in spite of all rounding."""
        a, inside = self.chain.a, (part.lower <= witness.point) & (witness.point <= part.upper)
        if not bool(inside.all()):
            raise Refused("witness", "it is not in the box")
        if self.level == "deployed" and (witness.point.astype(np.float32) != witness.point).any():
            raise Refused("witness", "it is no point of float32 numbers")
        with np.errstate(all="ignore"):
            point = a.array(witness.point)[None]
            facts = self.chain.forward(point, point, None, None, None)
            size = facts.size(self.chain.network.output)
            for clause in part.clauses:
                negative = Clause(-clause.rows, -clause.offset)
                each = a.array(np.eye(len(clause.rows)))
                rows, constant = self._mixture(negative, each, size)
                piece = np.zeros(len(rows), np.int64)
                asked = Rows(self.chain.network.output, rows, piece, constant)
                if bool((self.chain.lower(facts, asked) >= 0).all()):
                    return True
        return False


def check(proof: Proof, data: bytes, exact: bool = False) -> Checked:
    """Accept a proof about the network in some bytes, or raise ``Refused`` with the place and the reason."""
    statement = proof.statement
    checker = Checker(data, statement.level, exact)
    checker.fits(statement)
    if proof.witness is not None:
        part = statement.parts[proof.witness.part]
        if not checker.refutes(part, proof.witness):
            raise Refused("witness", "no clause is certain to fail there")
        return Checked(0, None)
    leaves, least = 0, np.inf
    for number, tree in enumerate(proof.trees):
        bounds = checker.bounds(statement.parts[tree.part], tree)
        wrong = np.argwhere(~(bounds > 0))
        if len(wrong):
            leaf, clause = wrong[0].tolist()
            place = f"tree {number}, leaf {leaf}, clause {tree.clauses[clause]} of part {tree.part}"
            raise Refused(place, f"its bound, {float(bounds[leaf, clause]):g}, is not > 0")
        leaves, least = leaves + len(bounds), min(least, float(bounds.min()))
    return Checked(leaves, least)
