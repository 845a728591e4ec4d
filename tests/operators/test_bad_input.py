"""What layers, grids and models refuse, before they compute anything, with a word on what would do."""

import pytest
import torch
from torch import nn

from nde.operators import (
    FNO,
    DifferentialKernel,
    HatBasis,
    LocalIntegral,
    LocalNO,
    MultiONet,
    NeuralOperator,
    OperatorBlock,
    PointCloud,
    Pointwise,
    RegularizedDifferential,
    SpectralConvolution,
    SphereGrid,
    SpherePoints,
    UniformGrid,
    ZernikeBasis,
    resolution_changes,
)


def small(**options):
    return LocalNO(1, 1, **{"width": 4, "depth": 2, "modes": 3, "radii": (0.2,), **options})


def refusals():
    x = torch.zeros(1, 1, 16, 16)
    cloud = PointCloud(torch.rand(50, 2))
    nan = x.clone()
    nan[..., 3, 3] = torch.nan
    return {
        "wrong channels": (ValueError, "shape .*1, points, points", lambda: small()(torch.zeros(1, 2, 16, 16))),
        "no channels": (ValueError, "x must have shape", lambda: small()(torch.zeros(16, 16))),
        "radius below spacing": (
            ValueError,
            "below the spacing 0.125.*at least 10",
            lambda: LocalIntegral(1, 1, radius=0.1)(x[..., :8, :8]),
        ),
        "radius below spacing on one axis": (
            ValueError,
            "along axis 1",
            lambda: LocalIntegral(1, 1, radius=0.1)(x[..., :8]),
        ),
        "radius below spacing of points": (
            ValueError,
            "spacing of the points",
            lambda: LocalIntegral(1, 1, radius=0.01)(torch.zeros(1, 50), cloud),
        ),
        "radius below spacing of the sphere": (
            ValueError,
            "latitudes",
            lambda: LocalIntegral(1, 1, radius=0.1)(x, SphereGrid()),
        ),
        "radius beyond half the torus": (
            ValueError,
            "half the box",
            lambda: LocalIntegral(1, 1, radius=0.6)(x, UniformGrid(periodic=True)),
        ),
        "radius beyond the box": (ValueError, "larger than the box", lambda: LocalIntegral(1, 1, radius=1.6)(x)),
        "radius around the sphere": (ValueError, "pi", lambda: LocalIntegral(1, 1, radius=3.2)(x, SphereGrid())),
        "modes above Nyquist": (ValueError, "at most modes=7", lambda: SpectralConvolution(1, 1, modes=8)(x)),
        "padding between cells": (
            ValueError,
            "whole number",
            lambda: SpectralConvolution(1, 1, modes=3, padding=0.1)(x),
        ),
        "nan": (ValueError, "1 of its 256", lambda: small()(nan)),
        "mismatched points": (ValueError, "50 points.*40 values", lambda: small()(torch.zeros(1, 1, 40), cloud)),
        "points in another dimension": (
            ValueError,
            "dims=2",
            lambda: small()(torch.zeros(1, 1, 50), PointCloud(torch.rand(50, 3))),
        ),
        "lengths of another dimension": (ValueError, "3 entries", lambda: small()(x, UniformGrid((1.0, 1.0, 1.0)))),
        "sphere in three dimensions": (
            ValueError,
            "dimension 2",
            lambda: LocalIntegral(1, 1, 3)(torch.zeros(1, 1, 8, 8, 8), SphereGrid()),
        ),
        "spectral on the sphere": (ValueError, "modes=None", lambda: small(coordinates=3)(x, SphereGrid())),
        "coordinates on the sphere": (ValueError, "coordinates=3", lambda: small(modes=None)(x, SphereGrid())),
        "stencil on points": (
            ValueError,
            "RegularizedDifferential",
            lambda: DifferentialKernel(1, 1)(torch.zeros(1, 50), cloud),
        ),
        "stencil wider than the field": (
            ValueError,
            "needs 3 points",
            lambda: DifferentialKernel(1, 1, width=5)(x[..., :2, :2]),
        ),
        "dtype": (TypeError, "float64", lambda: small()(x.double())),
        "integers": (TypeError, "real numbers", lambda: small()(x.long())),
        "grid of the wrong type": (TypeError, "must be a Grid", lambda: small()(x, "cells")),
        "no input": (TypeError, "takes", lambda: small()()),
        "radius": (ValueError, "positive", lambda: LocalIntegral(1, 1, radius=0.0)),
        "radius of the wrong type": (TypeError, "radius", lambda: LocalIntegral(1, 1, radius="0.1")),
        "basis": (TypeError, "HatBasis", lambda: LocalIntegral(1, 1, basis="hat")),
        "basis without odd functions": (ValueError, "odd", lambda: RegularizedDifferential(1, 1, basis=HatBasis(2, 3))),
        "isotropic basis has no odd functions": (
            ValueError,
            "odd",
            lambda: RegularizedDifferential(1, 1, basis=ZernikeBasis(3, 0)),
        ),
        "dims": (ValueError, "1, 2 or 3", lambda: Pointwise(1, 1, 4)),
        "channels": (ValueError, "in_channels", lambda: Pointwise(0, 1)),
        "order": (ValueError, "1 or 2", lambda: DifferentialKernel(1, 1, order=3)),
        "even width": (ValueError, "odd", lambda: DifferentialKernel(1, 1, width=4)),
        "centering": (ValueError, "vertices", lambda: UniformGrid(centering="vertex")),
        "length": (ValueError, "positive", lambda: UniformGrid(lengths=(1.0, 0.0))),
        "no branch": (ValueError, "at least one", lambda: OperatorBlock([])),
        "branches that differ": (ValueError, "agree", lambda: OperatorBlock([Pointwise(1, 2), Pointwise(1, 3)])),
        "no layer": (TypeError, "Linear", lambda: OperatorBlock([nn.Linear(1, 1)])),
        "blocks that do not follow": (
            ValueError,
            "follow",
            lambda: NeuralOperator(1, 1, [Pointwise(1, 2), Pointwise(3, 1)]),
        ),
        "points outside": (ValueError, "outside the box", lambda: PointCloud(2 * torch.ones(3, 2))),
        "points twice": (ValueError, "twice", lambda: PointCloud(torch.zeros(3, 2))),
        "weights": (ValueError, "weights", lambda: PointCloud(torch.rand(3, 2), torch.ones(4))),
        "no unit vectors": (ValueError, "unit vectors", lambda: SpherePoints(torch.rand(9, 3))),
        "sensors": (ValueError, "10 values", lambda: MultiONet(10)(torch.zeros(2, 9), torch.zeros(3, 2))),
        "positions": (ValueError, "positions", lambda: MultiONet(10)(torch.zeros(2, 10), torch.zeros(3, 1))),
        "layers to read": (ValueError, "at most read=5", lambda: MultiONet(10, read=6)),
        "sizes": (ValueError, "multiple", lambda: resolution_changes(Pointwise(1, 1), lambda x: x, (8, 12))),
        "modes of another dimension": (ValueError, "modes has 3", lambda: FNO(1, 1, modes=(1, 2, 3))),
        "modes that points do not tell apart": (
            ValueError,
            "49 waves, which 40 points",
            lambda: small()(torch.zeros(1, 1, 40), PointCloud(torch.rand(40, 2))),
        ),
        "no values": (ValueError, "must hold values", lambda: small()(x[:0])),
        "modes of the wrong type": (TypeError, "modes must be an integer", lambda: FNO(1, 1, modes=3.0)),
        "padding of the wrong type": (TypeError, "padding must be a number", lambda: FNO(1, 1, padding="wide")),
        "one radius for several": (TypeError, r"such as \(0.1,\)", lambda: LocalNO(1, 1, radii=0.1)),
        "one order for several": (TypeError, "differential must be a sequence", lambda: LocalNO(1, 1, differential=1)),
        "activation by name": (TypeError, "activation must be a function", lambda: FNO(1, 1, activation="gelu")),
        "rings": (TypeError, "rings must be an integer", lambda: HatBasis(2.5)),
        "degree": (ValueError, "degree must be at least 1", lambda: ZernikeBasis(0)),
        "periodic by name": (TypeError, "True or False", lambda: UniformGrid(periodic="no")),
        "length that is no number": (TypeError, "lengths must be a number", lambda: UniformGrid(lengths="1")),
        "origin": (ValueError, "origin must be finite", lambda: UniformGrid(origin=float("nan"))),
        "box of a cloud": (ValueError, "lengths must be positive", lambda: PointCloud(torch.rand(5, 2), lengths=-1.0)),
        "weights of the wrong type": (
            TypeError,
            "weights must be a tensor",
            lambda: PointCloud(torch.rand(3, 2), [1.0]),
        ),
        "three points on a sphere": (ValueError, "four points", lambda: SpherePoints(torch.eye(3))),
        "sensors in another precision": (
            TypeError,
            "a has dtype",
            lambda: MultiONet(10)(torch.zeros(2, 10).double(), torch.zeros(3, 2)),
        ),
        "sensors that are no tensor": (
            TypeError,
            "a must be a tensor",
            lambda: MultiONet(10)([0.0] * 10, torch.zeros(3, 2)),
        ),
        "sensors that are not finite": (
            ValueError,
            "a must be finite",
            lambda: MultiONet(10)(torch.full((2, 10), torch.nan), torch.zeros(3, 2)),
        ),
        "positions that are not finite": (
            ValueError,
            "positions must be finite",
            lambda: MultiONet(10)(torch.zeros(2, 10), torch.full((3, 2), torch.nan)),
        ),
    }


@pytest.mark.parametrize("name", refusals())
def test_bad_input_is_refused_with_a_word_on_what_would_do(name):
    kind, words, call = refusals()[name]
    with pytest.raises(kind, match=words):
        call()
