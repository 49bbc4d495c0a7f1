"""omniform: one core of token mixers and backbones, and the domain plugins that grow on it.

Importing this package imports no torch; `omniform.mixers`, `omniform.backbones` and the rest do.
"""

from importlib.metadata import version

__version__ = version("omniform")

__all__ = ["__version__"]
