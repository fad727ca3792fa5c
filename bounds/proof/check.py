"""The checker: it goes down every tree of a proof and accepts a leaf where its own bound is > 0.

Leaves of lemmas are bounded in the same way, but nothing is asked of their bounds: the least of a tree's is
what is known of a neuron in the whole box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from bounds.proof.arithmetic import Exact, Floats, probe
from bounds.proof.basics import Array, Refused, refuse
from bounds.proof.chain import Account, Chain, Cuts, Fact, Facts, parts
from bounds.proof.file import digest
from bounds.proof.format import Clause, Forest, Lemma, Part, Proof, Statement, Tree, Witness
from bounds.proof.onnx import read_network

_MEMORY = 2**27  # bytes of the facts of a batch of leaves


@dataclass(frozen=True)
class Checked:
    """What was accepted. leaves: how many pieces; least: the smallest bound, or None for a witness."""

    leaves: int
    least: float | None


@dataclass(frozen=True, eq=False)
class Leaves:
    """Some leaves of trees.

    cuts: the splits on the ways to them, with multipliers (cut steps, clauses). weights: (leaves,
    alternatives of all clauses). sets: of slope codes, (sets, elements of all functions). chosen: (leaves,
    clauses), as in ``Forest``.
    """

    cuts: Cuts | None
    weights: Array
    sets: Array
    chosen: Array


class Checker:
    """A network at a level, ready to bound leaves.

    data: an ONNX file's bytes. exact: in fractions, for small networks of affine steps and ReLUs at level
    "real". Raises ``Refused`` for networks that cannot be read.
    """

    def __init__(self, data: bytes, level: str, exact: bool = False) -> None:
        probe()
        # A large block that is freed: the C library then keeps smaller ones, and does not give each back to
        # the system. Fetching them again took a third of the time.
        np.empty(2**22 - 2**10)
        refuse(exact and level != "real", "level", f"exact arithmetic says nothing of level {level!r}")
        self.digest = digest(data)
        self.level = level
        a, deployed = Exact() if exact else Floats(), level == "deployed"
        with np.errstate(all="ignore"):
            self.chain = Chain(read_network(data, a, deployed), a, deployed)
        self._root: tuple[object, Facts] | None = None

    def fits(self, statement: Statement) -> None:
        """Refuse a statement about another model, another level or other sizes."""
        network, part = self.chain.network, statement.parts[0]
        refuse(statement.model != self.digest, "statement", "it is about another model")
        levels = f"{statement.level!r}, not {self.level!r}"
        refuse(statement.level != self.level, "statement", f"it is about level {levels}")
        sizes = part.lower.size, part.clauses[0].rows.shape[1]
        other = sizes != (network.inputs, network.size(network.output))
        refuse(other, "statement", "it has other numbers of inputs or outputs than the model")

    def accept(self, proof: Proof) -> Checked:
        """Accept a proof or raise ``Refused``."""
        statement = proof.statement
        self.fits(statement)
        if proof.witness is not None:
            false = self.refutes(statement.parts[proof.witness.part], proof.witness)
            refuse(not false, "witness", "no clause is certain to fail there")
            return Checked(0, None)
        leaves, least = 0, np.inf
        for number, tree in enumerate(proof.trees):
            lemmas = tuple(lemma for lemma in proof.lemmas if lemma.part == tree.part)
            bounds = self.bounds(statement.parts[tree.part], tree, lemmas)
            wrong = np.argwhere(~(bounds > 0))
            if len(wrong):
                leaf, clause = wrong[0].tolist()
                place = f"tree {number}, leaf {leaf}, clause {tree.clauses[clause]} of part {tree.part}"
                raise Refused(place, f"its bound, {float(bounds[leaf, clause]):g}, is not > 0")
            leaves, least = leaves + len(bounds), min(least, float(bounds.min()))
        return Checked(leaves, least)

    def bounds(self, part: Part, tree: Tree, lemmas: tuple[Lemma, ...] = ()) -> Array:
        """Of each leaf and clause of a tree a lower bound of its mixture: (leaves, clauses).

        Infinite where the splits leave nothing; NaN where nothing is known. The tree proves its clauses where
        all are > 0. lemmas: of the part.
        """
        for forest in (tree, *lemmas):
            self._fit(forest)
        clauses: list[int] = tree.clauses.tolist()
        with np.errstate(all="ignore"):
            known = self._known(part, lemmas, tree.rows) if tree.hidden == "root" else None
            found = [
                self.lower(part, clauses, self._leaves(tree, number), known, tree.hidden == "leaf")
                for number in self.batches(len(tree.weights), len(clauses))
            ]
        return np.concatenate(found)

    def _fit(self, forest: Forest) -> None:
        """Refuse what speaks of other layers or elements than there are, or than a lemma may speak of."""
        place, values, wide = "tree", np.array(self.values), forest.slopes.shape[1]
        sizes = np.array([self.chain.network.size(v) for v in values])
        if isinstance(forest, Lemma):
            place = f"lemma of layer {forest.of} of part {forest.part}"
            wrong = forest.of >= len(values) or (forest.ends >= sizes[forest.of]).any()
            refuse(wrong, place, "it bounds what is not there")
        wrong = forest.slopes.shape not in ((0, 0), (len(forest.slopes), sizes[1:].sum()))
        refuse(wrong, place, f"slopes speak of {wide} elements, not {sizes[1:].sum()}")
        if isinstance(forest, Tree):
            most = 2 * sum(map(self.chain.network.size, self.chain.loose))
            wrong = forest.rows.size not in (0, most)
            refuse(wrong, place, f"it picks from {forest.rows.size} rows, not {most}")
        wrong = (forest.layer >= len(values)).any() or (forest.element >= sizes[forest.layer]).any()
        refuse(wrong, place, "it splits what is not there")
        behind = isinstance(forest, Lemma) and (values[forest.layer] >= values[forest.of]).any()
        refuse(behind, place, "it splits its own layer, or one behind that")

    @cached_property
    def values(self) -> list[int]:
        """The value that each layer of splits speaks of: the input, and what enters the nonlinear steps."""
        network = self.chain.network
        return [0, *(network.steps[k].inputs[0] for k in network.functions)]

    def batches(self, leaves: int, clauses: int) -> list[slice]:
        """So many leaves in parts that fit into memory."""
        size = 1 + sum(step.size for step in self.chain.network.steps)
        return parts(leaves, max(1, min(_MEMORY // (100 * size), self.chain.rows_at_once // clauses)))

    def _known(self, part: Part, lemmas: tuple[Lemma, ...], rows: Array) -> Facts:
        """The facts of a whole box, with rows and lemmas, which are kept for the next tree."""
        key = part.lower.tobytes(), part.upper.tobytes(), lemmas, rows.tobytes()
        if self._root is None or self._root[0] != key:
            tighten = partial(self.chain.tighten, rows=rows if rows.size else None)
            after = tighten, partial(self._apply, lemmas)
            self._root = key, self.chain.forward(self.box(part, 1), after=after)
        return self._root[1]

    def box(self, part: Part, count: int) -> Fact:
        """The box of a part so many times."""
        return Fact(*(np.tile(self.chain.a.array(end), (count, 1)) for end in (part.lower, part.upper)))

    def _apply(self, lemmas: Sequence[Lemma], facts: Facts) -> None:
        """Meet the last value's intervals with what lemmas say of it."""
        for lemma in lemmas:
            if self.values[lemma.of] == len(facts.values) - 1:
                piece = np.zeros_like(lemma.ends)
                self.chain.meet(facts, piece, lemma.ends, lemma.sides, self.ends(facts, lemma))

    def ends(self, facts: Facts, lemma: Lemma) -> Array:
        """Lower bounds of what a lemma speaks of, the least of each tree's leaves; (ends,).

        facts: of the whole box, up to the lemma's value.
        """
        a, value, owners, bounds = self.chain.a, len(facts.values) - 1, lemma.owners, []
        for number in self.batches(len(owners), 1):
            leaves, element = self._leaves(lemma, number), lemma.ends[owners[number]]
            constant = a.zeros(len(element), 1)
            pieces = self.chain.forward(Fact(constant, constant), leaves.cuts, facts)
            rows = a.zeros(len(element), 1, facts.values[value].low.shape[1])
            rows[np.arange(len(element)), 0, element] = leaves.weights[:, 0]
            bounds.append(self._rows(pieces, value, rows, constant, leaves)[:, 0])
        found, firsts = np.concatenate(bounds), np.flatnonzero(np.diff(owners, prepend=-1))
        # NaN is the least, which not every arithmetic would see.
        return np.asarray(np.minimum.reduceat(np.where(found > -np.inf, found, -np.inf), firsts))

    def _leaves(self, tree: Tree | Lemma, number: slice) -> Leaves:
        """Some leaves of trees."""
        a, path = self.chain.a, slice(*np.searchsorted(tree.paths[0], [number.start, number.stop]).tolist())
        leaf, split, side = (each[path] for each in tree.paths)
        layer = np.array(self.values)[tree.layer[split]]
        at, multipliers = a.array(tree.at[split]), a.array(tree.multipliers[path])
        cuts = Cuts(leaf - number.start, layer, tree.element[split], side, at, multipliers)
        weights, chosen = a.array(tree.weights[number]), tree.chosen[number]
        return Leaves(cuts if len(leaf) else None, weights, tree.slopes, chosen)

    def lower(
        self, part: Part, clauses: Sequence[int], leaves: Leaves, known: Facts | None, hidden: bool
    ) -> Array:
        """Lower bounds of the mixtures of some clauses: (leaves, clauses), see ``bounds``.

        known, hidden: see ``Chain.forward``.
        """
        output, after = self.chain.network.output, [self.chain.tighten] if hidden else []
        facts = self.chain.forward(self.box(part, len(leaves.weights)), leaves.cuts, known, after)
        ends = np.cumsum([len(part.clauses[c].rows) for c in clauses])[:-1]
        each, size = np.split(leaves.weights, ends, 1), facts.values[output].size
        mixed = [self._mixture(part.clauses[c], w, size) for c, w in zip(clauses, each, strict=True)]
        matrix, constant = (np.stack(each, 1) for each in zip(*mixed, strict=True))
        return self._rows(facts, output, matrix, constant, leaves)

    def _rows(self, facts: Facts, value: int, matrix: Array, constant: Array, leaves: Leaves) -> Array:
        """Lower bounds of rows over a value, (leaves, rows, elements), with constants, (leaves, rows)."""
        bounds, cuts, (count, most) = [], leaves.cuts, constant.shape
        for some in parts(most, max(1, self.chain.rows_at_once // count)):
            each, chosen = constant[:, some], leaves.chosen[:, some].reshape(-1)
            mine = cuts and replace(cuts, multipliers=cuts.multipliers[:, some])
            codes = np.where(chosen[:, None] > 0, leaves.sets[chosen - 1], 0) if chosen.any() else None
            piece = np.arange(count).repeat(each.shape[1])
            account = Account(self.chain.a, piece, each.reshape(-1), mine, codes)
            rows = matrix[:, some].reshape(each.size, -1)
            bounds.append(self.chain.lower(facts, value, rows, account).reshape(each.shape))
        return np.where(facts.empty[:, None], np.inf, np.concatenate(bounds, 1))

    def _mixture(self, clause: Clause, weights: Array, size: Array) -> tuple[Array, Array]:
        """Weights (leaves, alternatives) times a clause's rows: (leaves, outputs), constant (leaves,)."""
        a = self.chain.a
        rows, offset = a.array(clause.rows), a.array(clause.offset)
        magnitude = size @ np.abs(rows).T + np.abs(offset)
        off = a.gamma(sum(rows.shape) + 8) * (weights * magnitude).sum(1) + a.tiny * (1 + magnitude.max(1))
        return weights @ rows, a.down(a.down(weights @ offset) - off)

    def refutes(self, part: Part, witness: Witness) -> bool:
        """Whether all alternatives of some clause are <= 0 at a point: their opposites are bounded by 0."""
        inside = (part.lower <= witness.point) & (witness.point <= part.upper)
        refuse(not inside.all(), "witness", "it is not in the box")
        wide = self.level == "deployed" and (witness.point.astype(np.float32) != witness.point).any()
        refuse(wide, "witness", "it is no point of float32 numbers")
        opposite = [Clause(-c.rows[[k]], -c.offset[[k]]) for c in part.clauses for k in range(len(c.rows))]
        point, every = Part(witness.point, witness.point, tuple(opposite)), range(len(opposite))
        ones = self.chain.a.array(np.ones((1, len(opposite))))
        leaf = Leaves(None, ones, np.zeros((0, 0)), np.zeros(ones.shape, np.int32))
        with np.errstate(all="ignore"):
            bounds = self.lower(point, every, leaf, None, hidden=False)[0]
        ends = np.cumsum([len(clause.rows) for clause in part.clauses])[:-1]
        return any(bool((clause >= 0).all()) for clause in np.split(bounds, ends))


def check(proof: Proof, data: bytes, exact: bool = False) -> Checked:
    """Accept a proof about the network in some bytes, or raise ``Refused`` with the place and the reason."""
    return Checker(data, proof.statement.level, exact).accept(proof)
