"""The latent SDE: its divergences are those of the laws of two processes, its steps those of the paths alone."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import nde
from nde.models.girsanov import stable_division
from tests.problems import Net, double, each_adjoint

RATES, CENTRES, SCALE = {"posterior": 0.7, "prior": 1.6}, {"posterior": 0.8, "prior": -0.3}, 0.6
MEAN, STD, SPAN = 0.2, 0.4, 1.5


def ornstein_uhlenbeck(name):
    return lambda t, z, *args: -RATES[name] * (z - CENTRES[name])


def layer_of(posterior=None, prior=None, diffusion=None, size=2, **options) -> nde.LatentSDE:
    posterior, prior = posterior or ornstein_uhlenbeck("posterior"), prior or ornstein_uhlenbeck("prior")
    diffusion = diffusion or (lambda t, z: torch.full_like(z, SCALE))
    return nde.LatentSDE(posterior, prior, diffusion, size, **options).double()


def initial_of(batch: int, size: int = 2) -> Normal:
    mean, std = (torch.full((batch, size), value, dtype=torch.float64) for value in (MEAN, STD))
    return Normal(mean, std)


def exact_divergence() -> float:
    """Return the divergence of the two processes on the span, for one coordinate with the same initial state.

    1 / (2 s^2) times the integral of E (c z + b)^2 with c = a' - a, b = a m - a' m', and z normal with the mean
    m + d exp(-a t) and the variance v + (v0 - v) exp(-2 a t), v = s^2 / 2 a.
    """
    rate, centre = RATES["posterior"], CENTRES["posterior"]
    slope, offset = RATES["prior"] - rate, rate * centre - RATES["prior"] * CENTRES["prior"]
    level, moved = slope * centre + offset, slope * (MEAN - centre)
    once, twice = ((1 - math.exp(-factor * rate * SPAN)) / (factor * rate) for factor in (1, 2))
    settled = SCALE**2 / (2 * rate)
    mean = level**2 * SPAN + 2 * level * moved * once + moved**2 * twice
    variance = slope**2 * (settled * SPAN + (STD**2 - settled) * twice)
    return (mean + variance) / (2 * SCALE**2)


def assert_mean(values: torch.Tensor, expected: float) -> None:
    """Assert a mean to within 3.5 standard errors, which a fixed seed that was not chosen meets in 9995 of 10000."""
    error = float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(expected, abs=3.5 * error)
    assert error < 0.02 * max(abs(expected), 0.1)  # or the comparison would say little


@pytest.mark.parametrize(("method", "per_sample"), [("sosri2", False), ("euler", False), ("sosri2", True)])
def test_mean_of_the_path_integral_is_the_divergence_of_two_ornstein_uhlenbeck_processes(method, per_sample) -> None:
    step = 1 / 128 if method == "euler" else 1 / 16  # an error of the integral far below that of the mean
    layer = layer_of(size=1, method=method, controller=nde.FixedStep(step), ts=(0.0, SPAN), per_sample=per_sample)
    with torch.no_grad():
        output = layer(initial_of(20_000, 1), seed=1)
    assert_mean(output.path_kl, exact_divergence())


def test_divergence_of_several_coordinates_and_of_the_initial_state_add_up() -> None:
    layer = layer_of(size=3, controller=nde.FixedStep(1 / 16), ts=(0.0, SPAN))
    nn.init.constant_(layer.initial_mean, 0.5)
    nn.init.constant_(layer.initial_log_std, math.log(2.0))
    with torch.no_grad():
        output = layer(initial_of(8_000, 3), seed=2)
    initial = math.log(2 / STD) + (STD**2 + (MEAN - 0.5) ** 2) / 8 - 0.5
    torch.testing.assert_close(output.initial_kl, double(3 * initial).expand(8_000), rtol=1e-12, atol=0)
    torch.testing.assert_close(output.kl, output.initial_kl + output.path_kl, rtol=0, atol=0)
    assert_mean(output.path_kl, 3 * exact_divergence())


def posterior_and_density_ratio(layer, initial, step: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return final states of the posterior, and the logarithm of its density with respect to the prior."""
    size = layer.latent_size

    def drift(t, y):
        z = y[..., :size]
        relative = layer.relative_drift(t, z)
        return torch.cat([layer.posterior_drift(t, z), 0.5 * relative.square().sum(-1, keepdim=True)], -1)

    def diffusion(t, y):
        z = y[..., :size]
        rows = [torch.diag_embed(layer.diffusion(t, z)), layer.relative_drift(t, z).unsqueeze(-2)]
        return torch.cat(rows, -2)

    z0 = torch.cat([initial.sample(), torch.zeros(len(initial.mean), 1).double()], -1)
    options = {"noise": "general", "method": "euler", "controller": nde.FixedStep(step)}
    y1 = nde.solve_sde(drift, diffusion, z0, (0.0, 1.0), seed=3, **options).y1
    return y1[..., :size], y1[..., size]


@torch.no_grad()
def test_weights_by_the_density_ratio_have_mean_one_and_turn_the_posterior_into_the_prior() -> None:
    # coupled drifts and a diffusion that depends on time and state
    diffusion = lambda t, z: 0.6 + 0.2 * torch.cos(z) + 0.1 * t
    posterior = lambda t, z: torch.sin(z.flip(-1)) - 0.5 * z
    layer = layer_of(posterior, lambda t, z: torch.cos(t) - z, diffusion)
    initial, step = initial_of(60_000), 1 / 32
    z1, log_ratio = posterior_and_density_ratio(layer, initial, step)
    weights = torch.exp(-log_ratio)
    assert_mean(weights, 1.0)
    options = {"method": "euler", "controller": nde.FixedStep(step)}
    prior = nde.solve_sde(layer.prior_drift, diffusion, initial.sample(), (0.0, 1.0), seed=4, **options).y1
    for moment in (lambda z: z[:, 0], lambda z: z[:, 1].square(), lambda z: torch.sin(z[:, 0] * z[:, 1])):
        weighted, plain = weights * moment(z1), moment(prior)
        error = math.hypot(float(weighted.std()), float(plain.std())) / math.sqrt(len(z1))
        assert float(weighted.mean()) == pytest.approx(float(plain.mean()), abs=3.5 * error)
        # without the weights, the moments are those of another law
        assert abs(float(moment(z1).mean() - plain.mean())) > 10 * error
    # the mean of the logarithm is the divergence; the layer integrates it without the noise's part, of mean zero
    kept = layer_of(posterior, layer.prior_drift, diffusion, **options)
    integral = kept(initial, seed=5).path_kl
    error = math.hypot(float(integral.std()), float(log_ratio.std())) / math.sqrt(len(z1))
    assert float(integral.mean()) == pytest.approx(float(log_ratio.mean()), abs=3.5 * error)


class Nets(nn.Module):
    """Networks for the three functions, with a context for the posterior."""

    def __init__(self) -> None:
        super().__init__()
        self.posterior, self.prior, self.noise = Net(size=4), Net(size=2, seed=1), Net(size=2, seed=2)

    def posterior_drift(self, t, z, context):
        return self.posterior(t, torch.cat([z, context], -1))[..., :2]

    def diffusion(self, t, z):
        return 0.5 + 0.2 * torch.tanh(self.noise(t, z))

    def layer(self, **options) -> nde.LatentSDE:
        return layer_of(self.posterior_drift, self.prior, self.diffusion, **options)


@pytest.mark.parametrize("tolerance", [(1e-2, 1e-3), (torch.tensor([1e-2, 1e-3]).double(), 1e-3)], ids=["one", "each"])
def test_steps_and_errors_are_those_of_the_latent_state_alone(tolerance) -> None:
    nets, context = Nets(), torch.linspace(-1, 1, 10).double().reshape(5, 2)
    rtol, atol = tolerance
    layer = nets.layer(rtol=rtol, atol=atol)
    path = nde.BrownianPath(0.0, 1.0, (5, 2), seed=0, levy_area="space-time", dtype=torch.float64)
    output = layer(initial_of(5), (0.0, 0.4, 1.0), (context,), path=path)
    alone = nde.solve_sde(
        nets.posterior_drift, lambda t, z, context: nets.diffusion(t, z), output.ys[0], (0.0, 0.4, 1.0), (context,),
        path=path, rtol=rtol, atol=atol,
    )  # fmt: skip
    # the integrals in the vector change the order of the sums in the norm, and so the last digits of a step
    torch.testing.assert_close(output.solution.steps.h, alone.steps.h, rtol=1e-9, atol=0)
    torch.testing.assert_close(output.solution.steps.error, alone.steps.error, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(output.ys, alone.ys, rtol=1e-9, atol=1e-9)
    assert output.stats.n_accepted == alone.stats.n_accepted > 5


@each_adjoint
def test_gradients_of_paths_divergences_and_penalty_are_those_of_finite_differences(adjoint) -> None:
    nets = Nets()
    layer = nets.layer(adjoint=adjoint, regularizer=nde.regularize.GlobalError(0.1), controller=nde.FixedStep(0.25))
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=0, levy_area="space-time", dtype=torch.float64)
    mean = torch.linspace(-1, 1, 6).double().reshape(3, 2).requires_grad_()
    std = torch.linspace(0.2, 0.7, 6).double().reshape(3, 2).requires_grad_()
    context = torch.linspace(0.5, -0.5, 6).double().reshape(3, 2).requires_grad_()
    inputs = [mean, std, context, *nets.parameters(), *layer.parameters()]

    def loss():
        output = layer(Normal(mean, std), args=(context,), path=path, seed=0)
        return output.ys.sin().sum() + output.kl.sum() + output.penalty

    gradient = torch.autograd.grad(loss(), inputs)
    norm = torch.cat([part.reshape(-1) for part in gradient]).norm()
    values, step = [], 1e-5
    with torch.no_grad():
        for sign in (1, -2, 1):
            for tensor, part in zip(inputs, gradient, strict=True):
                tensor.add_(part / norm, alpha=sign * step)
            values.append(float(loss()))
    assert all(part.any() for part in gradient)
    # the third derivative over the step squared; the values are of the size 10
    assert float(norm) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-7)


@pytest.mark.slow
def test_minimising_the_divergence_alone_makes_the_posterior_the_prior() -> None:
    rate, centre = (nn.Parameter(double(RATES["posterior"])), nn.Parameter(double(CENTRES["posterior"])))
    layer = layer_of(lambda t, z: -rate * (z - centre), controller=nde.FixedStep(0.25), ts=(0.0, SPAN))
    mean, log_std = (nn.Parameter(torch.full((1, 2), value).double()) for value in (MEAN, math.log(STD)))
    optimizer = torch.optim.Adam([rate, centre, mean, log_std, *layer.parameters()], lr=0.05)
    for _ in range(150):
        divergence = layer(Normal(mean.expand(64, 2), log_std.exp().expand(64, 2))).kl.mean()
        optimizer.zero_grad()
        divergence.backward()
        optimizer.step()
    assert float(divergence.detach()) < 1e-3
    assert float(rate.detach()) == pytest.approx(RATES["prior"], abs=0.03)
    assert float(centre.detach()) == pytest.approx(CENTRES["prior"], abs=0.03)


def test_a_diffusion_of_zero_leaves_values_and_gradients_finite() -> None:
    weight = double(1.0).requires_grad_()
    vanishing = lambda t, z: weight * torch.relu(z)  # zero for half of the states
    prior = lambda t, z: -0.5 * z
    initial = Normal(torch.linspace(-1, 1, 12).double().reshape(6, 2), torch.full((6, 2), 0.1).double())
    for posterior, finite in ((lambda t, z: -weight * z, False), (lambda t, z: -0.5 * z, True)):
        layer = layer_of(posterior, prior, vanishing, method="euler", controller=nde.FixedStep(0.1))
        output = layer(initial, seed=0)
        (gradient,) = torch.autograd.grad(output.kl.sum() + output.ys.sum(), weight)
        assert bool(output.kl.isfinite().all()) and bool(gradient.isfinite())
        if finite:  # the same drift: no divergence, whatever the diffusion
            assert not output.path_kl.any()
        else:  # without noise, paths of different drifts tell the two laws apart for certain
            assert float(output.path_kl.max().detach()) > 1e6


def test_stable_division_keeps_the_sign_and_cuts_the_gradient_of_what_it_replaces() -> None:
    denominator = double(2.0, 1e-9, -1e-9, 0.0, -0.0, -4.0).requires_grad_()
    quotient = stable_division(torch.ones(6).double(), denominator, 1e-7)
    torch.testing.assert_close(quotient, double(0.5, 1e7, -1e7, 1e7, -1e7, -0.25), rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(quotient.sum(), denominator)
    assert torch.equal(gradient, double(-0.25, 0.0, 0.0, 0.0, 0.0, -0.0625))


def test_samples_of_the_prior_have_its_law_and_its_gradients() -> None:
    layer = layer_of(size=1, controller=nde.FixedStep(1 / 32))
    nn.init.constant_(layer.initial_mean, 2.0)
    paths = layer.sample(20_000, (0.0, 0.5, 1.0), seed=0)
    assert paths.shape == (3, 20_000, 1)
    rate, centre = RATES["prior"], CENTRES["prior"]
    last, decay = paths[-1, :, 0].detach(), math.exp(-2 * rate)
    assert_mean(last, centre + (2 - centre) * math.exp(-rate))
    spread = SCALE**2 / (2 * rate) * (1 - decay) + decay
    assert_mean((last - last.mean()).square(), spread)
    (gradient,) = torch.autograd.grad(paths[-1].mean(), layer.initial_mean)
    # steps multiply by 1 - x + x^2 / 2, x = rate / 32, in place of exp(-x): relative to the whole, rate x^2 / 6
    assert float(gradient) == pytest.approx(math.exp(-rate), rel=1e-3)


def test_calls_are_new_draws_and_a_seed_repeats_one() -> None:
    layer, initial = layer_of(), initial_of(3)
    assert not torch.equal(layer(initial).ys[0], layer(initial).ys[0])
    assert not torch.equal(layer.sample(3)[1], layer.sample(3)[1])
    for draw in (lambda **kind: layer(initial, **kind).ys, lambda **kind: layer.sample(3, **kind)):
        assert torch.equal(draw(seed=-7), draw(seed=-7)) and not torch.equal(draw(seed=1)[1], draw(seed=2)[1])
        path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=0, levy_area="space-time", dtype=torch.float64)
        assert torch.equal(draw(seed=1, path=path), draw(seed=1, path=path))


def test_states_may_have_several_batch_axes_or_none() -> None:
    layer = layer_of()
    for batch in ((), (4,), (2, 3)):
        output = layer(Normal(torch.zeros(*batch, 2).double(), torch.ones(*batch, 2).double()), (0.0, 0.5, 1.0))
        assert output.ys.shape == (3, *batch, 2) and output.y1.shape == (*batch, 2)
        assert output.path_kl.shape == output.initial_kl.shape == output.kl.shape == batch
        assert output.penalty.item() == 0


def test_layer_can_be_copied_pickled_and_converted() -> None:
    nets, context = Nets(), torch.ones(5, 2).double()
    layer = nets.layer()
    expected = layer(initial_of(5), args=(context,), seed=0).kl
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(initial_of(5), args=(context,), seed=0).kl, expected)
    assert "latent_size=2" in repr(layer) and "method='sosri2'" in repr(layer)
    single = layer_of(size=2).float()
    assert single.sample(3).dtype is torch.float32


def test_each_sample_has_steps_of_its_own_and_its_part_of_the_context() -> None:
    def posterior(t, z, rate):
        return -rate * z

    layer = layer_of(posterior=posterior, rtol=1e-2, atol=1e-3, per_sample=True)
    rate = double(0.5, 3.0, 30.0).unsqueeze(-1)
    output = layer(initial_of(3), args=(nde.PerSample(rate),), seed=0)
    counts = output.solution.stats.accepted.tolist()
    assert counts[0] < counts[1] < counts[2]
    assert output.path_kl.shape == (3,) and output.ys.shape == (2, 3, 2)
    assert layer.sample(4, seed=1).shape == (2, 4, 2)
    with pytest.raises(ValueError, match="path does not go with per_sample=True"):
        layer(initial_of(3), path=nde.BrownianPath(0.0, 1.0, (3, 2), seed=0, dtype=torch.float64))
    with pytest.raises(ValueError, match="must have a batch axis"):
        layer(Normal(double(0.0, 0.0), double(1.0, 1.0)))


@pytest.mark.parametrize("form", ["augmented", "local"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_penalties_along_the_trajectory_are_those_of_the_posterior_alone(form: str, per_sample: bool) -> None:
    rate = 0.7
    penalty = nde.regularize.Kinetic(form=form)
    layer = layer_of(
        posterior=lambda t, z: rate * torch.ones_like(z),
        regularizer=penalty,
        controller=nde.FixedStep(0.25),
        per_sample=per_sample,
    )
    output = layer(initial_of(5), seed=0)
    # of a constant drift, the energy is known whatever the prior and the noise
    torch.testing.assert_close(output.penalty, double(0.5 * rate**2)[0])
    assert output.path_kl.shape == (5,) and output.ys.shape == (2, 5, 2)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"size": 0}, ValueError, "latent_size must be at least 1"),
        ({"size": 2.0}, TypeError, "latent_size must be an integer"),
        ({"posterior": 3}, TypeError, "posterior_drift must be callable"),
        ({"diffusion_floor": 0.0}, ValueError, "diffusion_floor must be positive"),
        ({"diffusion_floor": "no"}, TypeError, "diffusion_floor must be a number"),
        ({"method": "heun"}, ValueError, "does not converge to the ito solution"),
        ({"method": "sosra"}, ValueError, "does not take noise='diagonal'"),
    ],
)
def test_wrong_options_are_refused_when_the_layer_is_built(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        layer_of(**options)


def matrix(t, z):
    return torch.ones(*z.shape, 2).double()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: layer_of(diffusion=matrix)(initial_of(3)), ValueError, "LatentSDE takes diagonal noise"),
        (lambda: layer_of(diffusion=lambda t, z: 0.5)(initial_of(3)), ValueError, "has type float"),
        (lambda: layer_of()(torch.zeros(3, 2)), TypeError, "must be a torch.distributions.Normal, but is a Tensor"),
        (lambda: layer_of()(initial_of(3, size=4)), ValueError, r"must have shape \(\*batch, 2\), but has shape"),
        (lambda: layer_of()(initial_of(3), (1.0, 0.0)), ValueError, "ts must be increasing"),
        (lambda: layer_of(rtol=0.0, atol=0.0)(initial_of(3)), ValueError, "rtol and atol are both zero"),
        (lambda: layer_of(atol=-1.0)(initial_of(3)), ValueError, "atol must be zero or positive, but is -1.0"),
        (lambda: layer_of()(initial_of(3), path=3), TypeError, "path must be callable"),
        (
            lambda: layer_of()(initial_of(3), path=nde.BrownianPath(0.0, 1.0, (3, 3), seed=0)),
            ValueError,
            r"path must have shape \(3, 2\), that of the latent state",
        ),
        (
            lambda: layer_of()(initial_of(3), path=nde.BrownianPath(0.0, 0.5, (3, 2), seed=0)),
            ValueError,
            "path must cover the span",
        ),
        (lambda: layer_of().sample(0), ValueError, "samples must be at least 1"),
    ],
)
def test_wrong_arguments_of_a_call_are_explained(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call()
