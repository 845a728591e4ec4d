"""Rules by family; importing this package fills the table in `nde.taylor.registry`."""

from nde.taylor.rules import algebra, elementwise

__all__ = ["algebra", "elementwise"]
