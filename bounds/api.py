"""The public names of the engine; ``bounds`` has all of them, loaded when one is first asked for."""

from bounds import errors
from bounds.attained import Minimisers, minimisers
from bounds.bound import METHODS, Bounds, bound
from bounds.errors import BoundsError, InvalidFile, InvalidGraph, InvalidInput, Unsupported
from bounds.graph import Builder, Graph
from bounds.jacobian import jacobian, lipschitz, monotone
from bounds.memory import keep_freed
from bounds.rounding import FLOAT, ROUNDED, Arithmetic, Level
from bounds.search import Decision, Gap, Status, verify
from bounds.sets import Ball, Box, InputSet, L0Ball, Line, Patch, Subspace, Substitution, Tabular
from bounds.spec import Spec, margins
from bounds.trace import read_onnx, trace
from bounds.vnnlib import format_counterexample, read_vnnlib
from bounds.weights import perturbed

keep_freed()

__all__ = [
    "FLOAT",
    "METHODS",
    "ROUNDED",
    "Arithmetic",
    "Ball",
    "Bounds",
    "BoundsError",
    "Box",
    "Builder",
    "Decision",
    "Gap",
    "Graph",
    "InputSet",
    "InvalidFile",
    "InvalidGraph",
    "InvalidInput",
    "L0Ball",
    "Level",
    "Line",
    "Minimisers",
    "Patch",
    "Spec",
    "Status",
    "Subspace",
    "Substitution",
    "Tabular",
    "Unsupported",
    "bound",
    "errors",
    "format_counterexample",
    "jacobian",
    "lipschitz",
    "margins",
    "minimisers",
    "monotone",
    "perturbed",
    "read_onnx",
    "read_vnnlib",
    "trace",
    "verify",
]
