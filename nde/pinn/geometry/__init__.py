"""Domains: primitives, their combinations, and how points of them are drawn."""

from nde.pinn.geometry.ball import Ball
from nde.pinn.geometry.box import Box, Interval
from nde.pinn.geometry.cloud import PointCloud
from nde.pinn.geometry.csg import Difference, Intersection, Union
from nde.pinn.geometry.draws import sample_dimensions, unit_cube
from nde.pinn.geometry.geometry import Geometry, Primitive
from nde.pinn.geometry.polygon import Polygon
from nde.pinn.geometry.time import TimeProduct

__all__ = [
    "Geometry", "Primitive", "Interval", "Box", "Ball", "Polygon", "PointCloud", "TimeProduct",
    "Union", "Intersection", "Difference",
    "unit_cube", "sample_dimensions",
]  # fmt: skip
