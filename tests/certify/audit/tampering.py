"""Reports that are changed by hand, and what an audit says of them."""

from certify.audit import Outcome, audit, exit_code
from certify.errors import ArtefactRejected, Exit
from certify.reporting.canonical import canonical


def outcome(tree):
    """The exit code of an audit without a signature, and what failed."""
    try:
        _, items = audit(canonical(tree))
    except ArtefactRejected as error:
        return Exit.ARTEFACT_REJECTED, str(error)
    failed = {each.what: each.sentence for each in items if each.outcome is Outcome.FAILED}
    return exit_code(items), " / ".join(f"{what}: {sentence}" for what, sentence in failed.items())


def leaves(value, path=()):
    """Every number, word and truth of a tree, with its place."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from leaves(each, (*path, place))
    else:
        yield path, value


def put(tree, path, value):
    """Change one place of a tree."""
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


def changed(value):
    """Another value of the same type."""
    if isinstance(value, bool) or value is None:
        return not value
    return f"{value}x" if isinstance(value, str) else value + 1
