"""Machine formats that other tools read: JUnit XML, CycloneDX ML-BOM, VNN-LIB."""

from certify.formats.junit import junit
from certify.formats.mlbom import mlbom
from certify.formats.vnnlib import not_expressible, query_text, result_text

__all__ = ["junit", "mlbom", "not_expressible", "query_text", "result_text"]
