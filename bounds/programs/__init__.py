"""Mathematical programs: linear, mixed-integer linear and semidefinite, through cvxpy.

A solver's word is never a verdict (tolerances of 1e-7 and more): it comes as ``Program.value``. What is
proved comes as ``Program.lower``: the solver's multipliers are advice, from which bounds with an account of
every rounding are computed here. Loading this package loads cvxpy, which takes a second.
"""

from bounds.programs.exact import below, milp
from bounds.programs.relaxed import lp
from bounds.programs.result import Program
from bounds.programs.semidefinite import sdp

__all__ = ["Program", "below", "lp", "milp", "sdp"]
