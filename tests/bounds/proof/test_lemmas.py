"""Lemmas: what they say of neurons holds, and a proof that needs one is refused if that is tampered with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
from onnx import helper

from bounds.proof import Clause, Part, Proof, Refused, Statement, digest
from bounds.proof.basics import Array
from bounds.proof.chain import Facts
from bounds.proof.check import Checker, check
from bounds.proof.file import unpacked
from bounds.proof.format import Lemma
from bounds.proving.written import packed
from tests.bounds.proof.nets import leaf, mlp, onnx_bytes
from tests.bounds.proof.strategies import Random, random_lemma
from tests.bounds.proof.test_never_false import Net, exactly, random_net, steep_sum
from tests.bounds.proof.test_trees import all_values

FUNCTIONS = ("Relu", "LeakyRelu", "Sigmoid", "Tanh")


def deep(rng: Random, function: str, inputs: int = 3) -> bytes:
    """Three layers of neurons."""
    weights = [rng.normal(size=size) for size in ((5, inputs), (4, 5), (4, 4), (2, 4))]
    return mlp(weights, [0.3 * rng.normal(size=len(w)) for w in weights], function)


def residual(rng: Random) -> bytes:
    """A step whose input is older than that of the step before, a sum of branches, and max pooling."""
    make = helper.make_node
    nodes = [
        make("Gemm", ["x", "v"], ["z"]),
        make("Relu", ["z"], ["a"]),
        make("Gemm", ["a", "w"], ["b"]),
        make("Relu", ["b"], ["c"]),
        make("Sigmoid", ["z"], ["s"]),
        make("Add", ["c", "s"], ["d"]),
        make("Relu", ["d"], ["e"]),
        make("Reshape", ["e", "shape"], ["g"]),
        make("MaxPool", ["g"], ["h"], kernel_shape=[2, 1], strides=[2, 1]),
        make("Flatten", ["h"], ["y"]),
    ]
    constants = {k: rng.normal(size=size).astype(np.float32) for k, size in (("v", (3, 4)), ("w", (4, 4)))}
    return onnx_bytes(nodes, {**constants, "shape": np.array([1, 1, 4, 1])}, [1, 3])


def lemmas_of(rng: Random, checker: Checker, values: list[Array]) -> tuple[Lemma, ...]:
    """Random lemmas of most layers, with splits at zero or where values are, strictly before each layer."""
    network, layers, found = checker.chain.network, checker.values, []
    sizes = [network.size(value) for value in layers]
    for of in range(1, len(layers)):
        before = [k for k, value in enumerate(layers) if value < layers[of]]
        if not before or rng.random() < 0.2:
            continue
        lemma = random_lemma(rng, 0, of, sizes, before)
        samples = rng.integers(len(values[0]), size=len(lemma.layer))
        places = zip(lemma.layer, lemma.element, samples, strict=True)
        at = np.array([values[layers[k]][n, e] for k, e, n in places])
        chosen = lemma.chosen * (rng.random() < 0.3)
        found.append(replace(lemma, at=np.where(lemma.layer == 0, at, lemma.at), chosen=chosen))
    return tuple(found)


@pytest.mark.parametrize("level", ["real", "deployed"])
@pytest.mark.parametrize("net", [*FUNCTIONS, "residual"])
def test_values_lie_within_what_lemmas_say(net: str, level: str) -> None:
    """Whatever their trees are, at points of the box, in every layer and behind it."""
    tighter = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        checker = Checker(residual(rng) if net == "residual" else deep(rng, net), level)
        network = checker.chain.network
        part = Part(
            -np.ones(3), np.ones(3), (Clause(np.ones((1, network.size(network.output))), np.zeros(1)),)
        )
        values = all_values(network, rng.uniform(part.lower, part.upper, (500, 3)))
        lemmas = lemmas_of(rng, checker, values)
        checker.bounds(part, leaf(part), lemmas)
        facts, plain = known(checker, part, lemmas), known(checker, part, ())
        for value, fact in zip(values, facts.values, strict=True):
            slack = 1e-9 * (1 + np.abs(value).max())
            assert (fact.low - slack <= value).all()
            assert (value <= fact.high + slack).all()
        pairs = [(facts.values[v], plain.values[v]) for v in checker.values]
        tighter += any(bool((a.low > b.low).any() or (a.high < b.high).any()) for a, b in pairs)
    assert tighter > 3  # and not for want of saying anything


def known(checker: Checker, part: Part, lemmas: tuple[Lemma, ...]) -> Facts:
    """What the checker knows of a whole box, with lemmas."""
    with np.errstate(all="ignore"):
        return checker._known(part, lemmas, np.zeros(0, np.bool_))


@pytest.mark.parametrize("seed", range(40))
def test_ends_are_below_exact_ones_in_floats_and_fractions(seed: int) -> None:
    """Of ill-scaled networks with one input, whose least values are known exactly."""
    rng = np.random.default_rng(700 + seed)
    net = random_net(rng)
    part, of = Part(-np.ones(1), np.ones(1), (Clause(np.ones((1, 1)), np.zeros(1)),)), len(net.widths) - 1
    sizes = [1, *net.widths[:-1]]
    lemma = random_lemma(rng, 0, of, sizes, list(range(of)))
    found = []
    points = exactly(Net(net.weights[:of], net.biases[:of], b""), -1.0, 1.0)
    for exact in (False, True):
        if exact and seed >= 20:
            break
        checker = Checker(net.data, "real", exact)

        def look(facts: Facts, checker: Checker = checker) -> None:
            if len(facts.values) - 1 == checker.values[of]:
                found.append(checker.ends(facts, lemma))

        with np.errstate(all="ignore"):
            checker.chain.forward(checker.box(part, 1), after=[checker.chain.tighten, look])
        for element, side, bound in zip(lemma.ends.tolist(), lemma.sides.tolist(), found[-1], strict=True):
            least = min(side * z[element] for _, z in points)
            assert bound == -np.inf or Fraction(bound) <= least
    if len(found) == 2:
        assert all(isinstance(x, Fraction) for x in found[1])


def test_many_leaves_are_bounded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many leaves as a lemma has do not fit into memory at once; its ends are the same."""
    rng = np.random.default_rng(0)
    data, part = deep(rng, "Relu"), Part(-np.ones(3), np.ones(3), (Clause(np.ones((1, 2)), np.zeros(1)),))
    whole = Checker(data, "real")
    lemmas = lemmas_of(rng, whole, all_values(whole.chain.network, rng.uniform(-1, 1, (50, 3))))
    few = Checker(data, "real")
    monkeypatch.setattr(
        Checker, "batches", lambda self, leaves, clauses: (slice(k, k + 3) for k in range(0, leaves, 3))
    )
    assert max(len(lemma.chosen) for lemma in lemmas) > 10
    for a, b in zip(known(few, part, lemmas).values, known(whole, part, lemmas).values, strict=True):
        np.testing.assert_allclose(a.low, b.low, rtol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_overflow_on_the_way_says_nothing_of_a_neuron(seed: int) -> None:
    """Partial sums may exceed all float64 numbers where the sum, which is negative, does not."""
    rng = np.random.default_rng(seed)
    terms = rng.normal(size=60) * 8e37
    terms = np.sort(terms - (terms.sum() + 1e36) / 60)[::-1].astype(np.float32)
    part = Part(-np.ones(1), np.ones(1), (Clause(np.ones((1, 1)), np.zeros(1)),))
    lemma = random_lemma(rng, 0, 1, [1, 1], [0])
    for data in (steep_sum(terms, relu=True), steep_sum(terms[::-1], relu=True)):
        assert not Checker(data, "real").bounds(part, leaf(part), (lemma,))[0, 0] > 0


DATA = mlp(
    [np.array([[1.0], [-1.0], [1.0]]), np.array([[-1.0, 1.0, 1.0]]), np.array([[-1.0]])],
    [np.array([0.0, 0.0, 2.0]), np.array([-2.25]), np.zeros(1)],
)


def proof(offset: float = 0.001) -> Proof:
    """offset - relu(z) > 0 on [-1, 1], where z = relu(-x) - relu(x) + relu(x + 2) - 2.25 is -0.25.

    By rows over the box z may be above zero: a lemma cuts both neurons.
    """
    part = Part(np.array([-1.0]), np.array([1.0]), (Clause(np.array([[1.0]]), np.array([offset])),))
    lemma = Lemma(
        0,
        2,
        np.zeros(1, np.int32),
        -np.ones(1, np.int8),
        splits=np.array([True, True, False, False, True, False, False]),
        layer=np.ones(3, np.int32),
        element=np.array([0, 1, 1], np.int32),
        at=np.zeros(3),
        multipliers=np.array([1, 0, 0, 0, 0, 0, 1, 0], np.float32)[:, None],
        slopes=np.full((1, 4), 255, np.uint8),
        chosen=np.ones((4, 1), np.int32),
    )
    return Proof(Statement(digest(DATA), "real", (part,)), (leaf(part),), lemmas=(lemma,))


def changed(**arrays: Callable[[Array], Array]) -> Proof:
    """The proof with some arrays of its lemma changed."""
    whole = proof()
    [lemma] = whole.lemmas
    changes = {key: change(getattr(lemma, key).copy()) for key, change in arrays.items()}
    return replace(whole, lemmas=(replace(lemma, **changes),))


def with_(index: tuple[int, ...] | int, value: float) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        array[index] = value
        return array

    return change


@pytest.mark.parametrize("exact", [False, True])
def test_a_proof_that_needs_its_lemma(exact: bool) -> None:
    assert check(unpacked(packed(proof())), DATA, exact).leaves == 1
    with pytest.raises(Refused, match="its bound"):
        check(replace(proof(), lemmas=()), DATA, exact)
    with pytest.raises(Refused, match="its bound"):
        check(proof(offset=-1e-9), DATA, exact)


def test_a_lemma_is_of_its_part_alone() -> None:
    """Two parts with one box: what is known of one with a lemma is not used for the other."""
    whole = proof()
    parts = whole.statement.parts * 2
    trees = (*whole.trees, replace(whole.trees[0], part=1))
    two = Proof(replace(whole.statement, parts=parts), trees, lemmas=whole.lemmas)
    with pytest.raises(Refused, match=r"tree 1, .* of part 1: its bound"):
        check(two, DATA)
    assert check(replace(two, lemmas=(*whole.lemmas, replace(whole.lemmas[0], part=1))), DATA).leaves == 2


def test_what_is_known_by_one_lemma_is_not_used_for_another() -> None:
    whole, less = proof(), changed(multipliers=lambda m: m * 0)
    [part], [tree], seen = whole.statement.parts, whole.trees, Checker(DATA, "real")
    for each, proves in ((whole, True), (less, False), (whole, True)):
        assert bool(seen.bounds(part, tree, each.lemmas)[0, 0] > 0) is proves


@pytest.mark.parametrize("hidden", ["none", "leaf"])
def test_lemmas_are_for_rows_at_the_root(hidden: str) -> None:
    whole = proof()
    with pytest.raises(Refused, match="its bound"):
        check(replace(whole, trees=(replace(whole.trees[0], hidden=hidden),)), DATA)


def of_layer(of: int) -> Proof:
    return replace(proof(), lemmas=(replace(proof().lemmas[0], of=of),))


TAMPERED: dict[str, tuple[str, Callable[[], Proof]]] = {
    "split of another neuron": ("its bound", lambda: changed(element=with_(0, 1))),
    "split elsewhere": ("its bound", lambda: changed(at=with_(1, 0.5))),
    "split of its own layer": ("own layer", lambda: changed(layer=with_(2, 2), element=with_(2, 0))),
    "split of a layer that is not there": ("not there", lambda: changed(layer=with_(0, 3))),
    "split of an element that is not there": ("not there", lambda: changed(element=with_(0, 3))),
    "children exchanged": ("its bound", lambda: changed(multipliers=lambda m: np.roll(m, 2, 0))),
    "no multipliers": ("its bound", lambda: changed(multipliers=lambda m: m * 0)),
    "huge multiplier": ("its bound", lambda: changed(multipliers=with_((0, 0), 1e30))),
    "negative multiplier": ("negative", lambda: changed(multipliers=with_((0, 0), -1.0))),
    "nan multiplier": ("NaN", lambda: changed(multipliers=with_((0, 0), np.nan))),
    "nan split": ("NaN", lambda: changed(at=with_(0, np.nan))),
    "a leaf missing": ("leaf is missing", lambda: changed(splits=lambda s: s[:-1])),
    "a node behind the last leaf": ("behind", lambda: changed(splits=lambda s: np.append(s, False))),
    "the other end": ("its bound", lambda: changed(sides=with_(0, 1))),
    "another element": ("bounds what is not there", lambda: changed(ends=with_(0, 1))),
    "the layer before": ("own layer", lambda: of_layer(1)),
    "a layer that is not there": ("bounds what is not there", lambda: of_layer(3)),
    "slopes of another network": ("slopes", lambda: changed(slopes=lambda c: np.tile(c, (1, 2)))),
    "a false claim": ("its bound", lambda: proof(offset=0.0)),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_lemmas_are_refused(name: str) -> None:
    reason, make = TAMPERED[name]
    with pytest.raises(Refused, match=reason) as caught:
        check(make(), DATA)
    assert caught.value.place


@pytest.mark.parametrize("seed", range(200))
def test_random_changes_of_a_lemma_are_refused_or_harmless(seed: int) -> None:
    """Bits of the arrays change; what is still accepted is true, that is, the offset is > 0."""
    rng = np.random.default_rng(seed)
    whole = proof(float(rng.choice([0.001, 0.0, -1e-9])))
    [lemma] = whole.lemmas
    names = [f.name for f in fields(lemma) if isinstance(getattr(lemma, f.name), np.ndarray)]
    old = getattr(lemma, name := names[rng.integers(len(names))])
    raw = bytearray(old.tobytes())
    raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
    try:
        new = np.frombuffer(bytes(raw), np.uint8 if old.dtype == bool else old.dtype).reshape(old.shape)
        other = replace(whole, lemmas=(replace(lemma, **{name: new.astype(old.dtype)}),))
        check(unpacked(packed(other)), DATA)
    except Refused:
        return
    assert whole.statement.parts[0].clauses[0].offset[0] > 0
