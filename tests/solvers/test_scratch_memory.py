"""Scratch memory that solves share in turn never shows: results depend on the arguments alone."""

import threading

import pytest
import torch

import nde


def field(t, y):
    return -y * (y + t.cos())


def solve(y0, **options):
    return nde.solve_ode(field, y0, (0.0, 0.3, 1.0), rtol=1e-8, atol=1e-8, **options)


def test_a_state_that_the_field_kept_is_not_overwritten():
    kept, copies = [], []

    def keeping(t, y):
        kept.append(y)
        copies.append(y.clone())
        return field(t, y)

    with torch.no_grad():
        for _ in range(2):
            nde.solve_ode(keeping, torch.linspace(0.1, 1.0, 6, dtype=torch.float64), (0.0, 1.0))
    assert all(torch.equal(state, copy) for state, copy in zip(kept, copies, strict=True))


def test_results_of_a_solve_survive_later_solves_of_the_same_shape():
    y0 = torch.linspace(0.1, 1.0, 6, dtype=torch.float64)
    first = solve(y0, local_errors=True)
    before = [first.ys.clone(), first.y1.clone(), first.steps.error.clone(), first.steps.local_error.clone()]
    solve(2 * y0, local_errors=True)
    after = [first.ys, first.y1, first.steps.error, first.steps.local_error]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_solve_inside_the_field_of_another_gives_what_it_gives_alone():
    y0 = torch.linspace(0.1, 1.0, 6, dtype=torch.float64)
    inner_alone = solve(y0).y1
    seen = []

    def nested(t, y):
        seen.append(solve(y0).y1)
        return -y + seen[-1]

    outer = nde.solve_ode(nested, y0, (0.0, 1.0), rtol=1e-6, atol=1e-6)
    plain = nde.solve_ode(lambda t, y: -y + inner_alone, y0, (0.0, 1.0), rtol=1e-6, atol=1e-6)
    assert all(torch.equal(value, inner_alone) for value in seen)
    assert torch.equal(outer.y1, plain.y1)


def test_threads_do_not_share_it():
    starts = [torch.linspace(0.1, 1.0 + k, 200, dtype=torch.float64) for k in range(4)]
    wanted = [solve(y0).ys for y0 in starts]
    found: dict[int, list[torch.Tensor]] = {k: [] for k in range(4)}

    def work(k):
        for _ in range(10):
            found[k].append(solve(starts[k]).ys)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(value, wanted[k]) for k in range(4) for value in found[k])


def test_inference_mode_and_training_may_alternate():
    y0 = torch.linspace(0.1, 1.0, 6, dtype=torch.float64)
    with torch.inference_mode():
        inferred = solve(y0).y1.clone()
    start = y0.clone().requires_grad_()
    trained = solve(start).y1
    trained.sum().backward()
    with torch.inference_mode():
        assert torch.equal(solve(y0).y1, inferred)
    assert torch.equal(trained.detach(), inferred)


def test_an_error_in_the_field_leaves_the_next_solve_unharmed():
    y0 = torch.linspace(0.1, 1.0, 6, dtype=torch.float64)
    wanted = solve(y0).ys

    def failing(t, y):
        if t > 0.2:
            raise KeyError("field")
        return field(t, y)

    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            nde.solve_ode(failing, y0, (0.0, 1.0))
        assert "raised by the field at t = " in caught.value.__notes__[0]
    assert torch.equal(solve(y0).ys, wanted)
