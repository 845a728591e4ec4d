"""Compiled models: one graph without breaks on grids, the values and gradients of the model itself everywhere."""

import pytest
import torch

from nde.operators import FNO, LocalNO, PointCloud, SphereGrid, UniformGrid
from tests.operators.fields import relative

# of what torch's own compiler does: it instantiates autograd functions, looks at the gradients of tensors that are no
# leaves, and leaves Fourier coefficients to torch's library
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex:UserWarning"),
]


def fno():
    return FNO(1, 1, width=4, depth=2, modes=3, padding=0.25)


def local():
    # both evaluations of local integrals, and stencils
    return LocalNO(1, 1, width=4, depth=2, modes=3, radii=(0.3, 0.12), regularized=(0.2,), differential=(1, 2))


def spherical():
    return LocalNO(1, 1, width=4, depth=2, modes=None, coordinates=3, radii=(0.4,), regularized=(0.5,))


def check(model, compiled, x, grid):
    outs, grads = [], []
    for function in (compiled, model):  # the compiler comes first: it must not spoil the tables that are kept
        out = function(x, grid=grid)
        outs.append(out.detach())
        grads.append(torch.autograd.grad(out.square().sum(), list(model.parameters())))
    torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-6)
    assert relative(torch.cat([g.flatten() for g in grads[0]]), torch.cat([g.flatten() for g in grads[1]])) < 1e-5


@pytest.mark.parametrize(
    ("make", "grid", "shapes"),
    [
        (fno, UniformGrid(centering="vertices"), [(17, 17), (25, 21)]),
        pytest.param(local, UniformGrid(), [(20, 24), (24, 20)], marks=pytest.mark.slow),
        (local, UniformGrid(periodic=True), [(20, 24)]),
        pytest.param(spherical, SphereGrid(), [(16, 24), (16, 32)], marks=pytest.mark.slow),
    ],
    ids=["fno", "local", "local-periodic", "sphere"],
)
def test_a_compiled_model_is_one_graph_for_each_shape_with_the_same_values_and_gradients(make, grid, shapes):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = make()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for shape in shapes:
        check(model, compiled, torch.randn(2, 1, *shape), grid)


@pytest.mark.slow
def test_a_compiled_model_works_on_scattered_points_with_breaks_at_sparse_products():
    torch._dynamo.reset()
    torch.manual_seed(0)
    cloud = PointCloud(torch.rand(100, 2))
    spectral = fno()
    check(spectral, torch.compile(spectral, backend="aot_eager", fullgraph=True), torch.randn(2, 1, 100), cloud)
    model = LocalNO(1, 1, width=4, depth=2, modes=3, radii=(0.3,), regularized=(0.3,))
    check(model, torch.compile(model, backend="aot_eager"), torch.randn(2, 1, 100), cloud)


@pytest.mark.slow
def test_the_default_compiler_gives_the_same_values_and_gradients():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = local()
    check(model, torch.compile(model, fullgraph=True), torch.randn(2, 1, 20, 24), UniformGrid())
