"""How far each decision is proved to hold, and how near the nearest known failure is."""

from certify.radius.certified import CertifiedRadii, certified_radius

__all__ = ["CertifiedRadii", "certified_radius"]
