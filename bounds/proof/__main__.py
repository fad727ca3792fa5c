"""``python -m bounds.proof check FILE --network NET.onnx``: accept a proof, or refuse it with a reason."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bounds.proof.basics import Refused
from bounds.proof.check import check
from bounds.proof.file import model_bytes, read

_CLAIM = {
    "real": "for every real x in the region, the network of these exact weights in exact arithmetic",
    "deployed": "for every float32 x in the region, every execution that computes each affine layer as "
    "float32 dot products in any order (FMA allowed; no TF32, Winograd, FFT or flush-to-zero)",
}


def main(argv: Sequence[str]) -> int:
    """Returns 0 for an accepted proof and 1 for a refused one."""
    parser = argparse.ArgumentParser(prog="python -m bounds.proof", description=__doc__)
    parser.add_argument("command", choices=["check"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--network", type=Path, required=True, help="an ONNX file, gzipped or not")
    parser.add_argument("--exact", action="store_true", help="compute in fractions: for small networks")
    asked = parser.parse_args(argv)
    try:
        proof = read(asked.file)
        found = check(proof, model_bytes(asked.network), asked.exact)
    except Refused as refusal:
        sys.stderr.write(f"refused: {refusal}\n")
        return 1
    except MemoryError:
        sys.stderr.write("refused: this machine has too little memory for the network\n")
        return 1
    text = f"{_CLAIM[proof.statement.level]} satisfies the property ({found.leaves} leaves)"
    failing = "a point of the region, at which the property fails"
    sys.stdout.write(f"accepted: {failing if found.least is None else text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
