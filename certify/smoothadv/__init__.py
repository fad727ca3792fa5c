"""Attacks on smoothed classifiers, their comparison with certificates, and a check of the attack itself.

``attack`` searches and tests; ``compare`` holds what it found against the certificates of the same model;
``health`` says whether its gradients are good enough for that to mean something.
"""

from certify.smoothadv.attack import SmoothAdv, SmoothAdvResult
from certify.smoothadv.compare import Alarm, Comparison, compare
from certify.smoothadv.health import Health, health

__all__ = ["Alarm", "Comparison", "Health", "SmoothAdv", "SmoothAdvResult", "compare", "health"]
