"""The catalogue and the settings: read from YAML, environment and flags, with every mistake told by its place."""

from remit.config.files import fingerprint
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid, Problem
from remit.config.settings import Settings

__all__ = ["CatalogueInvalid", "Problem", "Settings", "fingerprint", "load"]
