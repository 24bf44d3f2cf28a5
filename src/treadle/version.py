"""The version, in one place: the package, the API and the SDK read it."""

__version__ = "0.1.0"
