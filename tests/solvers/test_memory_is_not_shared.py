"""Solves, fields and threads do not write into each other's memory."""

import threading

import pytest
import torch

import nde
from tests.problems import METHODS, Counted, Net, double, each_adjoint


@each_adjoint
def test_a_field_may_return_its_own_output_buffer_every_time(adjoint) -> None:
    # as compiled graphs with static outputs do; what the solver keeps of an evaluation must not change with the next
    matrix = torch.tensor([[0.0, 1.0], [-40.0, -0.3]], dtype=torch.float64)
    buffer = torch.empty(2, dtype=torch.float64)
    options = {"controller": nde.IController(initial=1.0), "adjoint": adjoint, "rtol": 1e-5}
    with torch.no_grad():
        plain = nde.solve_ode(lambda t, y: matrix @ y, double(1.0, 2.0), (0.0, 2.0), **options)
        reused = nde.solve_ode(lambda t, y: torch.mv(matrix, y, out=buffer), double(1.0, 2.0), (0.0, 2.0), **options)
    assert plain.stats.n_rejected > 0
    assert torch.equal(plain.y1, reused.y1)


@pytest.mark.parametrize("method", METHODS)
def test_a_field_may_return_its_argument(method: str) -> None:
    options = {"method": method, "controller": nde.FixedStep(0.1)}
    returned = nde.solve_ode(lambda t, y: y, double(1.0, 2.0).requires_grad_(), (0.0, 0.25, 1.0), **options)
    copied = nde.solve_ode(lambda t, y: y.clone(), double(1.0, 2.0).requires_grad_(), (0.0, 0.25, 1.0), **options)
    assert torch.equal(returned.ys, copied.ys)


def test_solutions_do_not_share_memory_with_the_state_or_with_later_solves() -> None:
    y0 = double(1.0, 2.0)
    first = nde.solve_ode(lambda t, y: -y, y0, (0.0, 0.5, 1.0), local_errors=True)
    kept = [t.clone() for t in (first.ys, first.y1, first.steps.error, first.steps.stiffness, first.steps.local_error)]
    nde.solve_ode(lambda t, y: 3 * torch.cos(y), y0, (0.0, 0.5, 1.0), local_errors=True)
    now = (first.ys, first.y1, first.steps.error, first.steps.stiffness, first.steps.local_error)
    assert all(torch.equal(one, two) for one, two in zip(kept, now, strict=True))
    y0.zero_()
    assert first.ys[0].tolist() == [1.0, 2.0]


def test_initial_state_that_is_no_contiguous_tensor() -> None:
    y0 = torch.arange(6, dtype=torch.float64).reshape(2, 3).T
    plain = nde.solve_ode(lambda t, y: -y, y0.contiguous(), (0.0, 1.0))
    assert torch.equal(nde.solve_ode(lambda t, y: -y, y0, (0.0, 1.0)).ys, plain.ys)


def test_inference_mode_and_later_solves_do_not_disturb_each_other() -> None:
    net, y0 = Net(size=2), double(0.3, 0.4)
    with torch.inference_mode():
        first = nde.solve_ode(net, y0, (0.0, 1.0)).y1.clone()
    solution = nde.solve_ode(net, y0, (0.0, 1.0))
    solution.y1.sum().backward()
    with torch.inference_mode():
        last = nde.solve_ode(net, y0, (0.0, 1.0)).y1.clone()
    assert first.tolist() == solution.y1.tolist() == last.tolist()


def test_threads_do_not_disturb_each_other() -> None:
    fields = [Net(size=4, seed=seed) for seed in range(4)]
    y0 = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(10, 4)
    expected = [nde.solve_ode(field, y0, (0.0, 2.0), rtol=1e-6).y1.detach() for field in fields]
    found = [[] for _ in fields]

    def work(index: int) -> None:
        for _ in range(5):
            found[index].append(nde.solve_ode(fields[index], y0, (0.0, 2.0), rtol=1e-6).y1.detach())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values, value in zip(found, expected, strict=True):
        assert len(values) == 5 and all(torch.equal(one, value) for one in values)


def test_field_is_called_with_the_arguments_unchanged() -> None:
    marker = object()
    counted = Counted(lambda t, y, one, two: -y if one is marker and two == {"x": 1} else None)
    assert nde.solve_ode(counted, double(1.0), (0.0, 1.0), (marker, {"x": 1})).success
    assert counted.calls > 0


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("method", ["tsit5", "dopri8", "bosh3", "heun"])
def test_a_field_of_samples_may_return_its_own_output_buffers(method, dense) -> None:
    matrix = torch.tensor([[0.0, 1.0], [-40.0, -0.3]], dtype=torch.float64)
    buffers: dict[torch.Size, torch.Tensor] = {}

    def reusing(t, y):
        return torch.matmul(y, matrix.T, out=buffers.setdefault(y.shape, torch.empty_like(y)))

    y0 = double([1.0, 2.0], [0.5, 0.1], [10.0, 3.0])
    options = {"controller": nde.IController(initial=1.0), "rtol": 1e-5, "per_sample": True, "dense": dense}
    with torch.no_grad():
        plain, reused = (
            nde.solve_ode(field, y0, (0.0, 0.7, 2.0), method=method, **options)
            for field in (lambda t, y: torch.matmul(y, matrix.T), reusing)
        )
        assert plain.stats.n_rejected > 0
        assert torch.equal(plain.ys, reused.ys)
        if dense:
            assert torch.equal(plain(1.1), reused(1.1))
