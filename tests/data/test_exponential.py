"""The exponential Runge-Kutta method: order, exactness on linear problems, coefficients near zero."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from nde.data.exponential import ExponentialRungeKutta4
from tests.data.convergence import orders


def integrate(linear, nonlinear, state, time, steps):
    step = ExponentialRungeKutta4(linear, time / steps)
    for _ in range(steps):
        state = step(state, nonlinear)
    return state


@pytest.mark.parametrize("linear", [np.array([-3.0, -0.2, 0.0]), np.array([-3.0 + 2j, 1j, 0j])])
def test_the_method_has_order_four(linear):
    state = np.array([1.0, 0.5, -0.4], dtype=linear.dtype)

    def nonlinear(v):
        return np.roll(v, 1) * v - np.sin(v)

    reference = solve_ivp(
        lambda t, v: linear * v + nonlinear(v), (0, 1), state, rtol=1e-12, atol=1e-13, method="DOP853"
    ).y[:, -1]
    errors = [np.abs(integrate(linear, nonlinear, state, 1.0, steps) - reference).max() for steps in (64, 128, 256)]
    assert np.abs(orders(errors) - 4).max() < 0.15


def test_linear_problems_are_solved_exactly_however_stiff():
    linear = np.array([-1e6, -1.0, 0.0, 1e-8])
    result = integrate(linear, lambda v: np.ones_like(v), np.ones(4), 0.5, 3)
    exact = np.exp(linear * 0.5) + np.where(linear == 0, 0.5, np.expm1(linear * 0.5) / np.where(linear == 0, 1, linear))
    np.testing.assert_allclose(result, exact, rtol=1e-12, atol=1e-18)
