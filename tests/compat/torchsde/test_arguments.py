"""Arguments that torchsde refuses or warns of are refused with its exceptions, and warned of with its words."""

import warnings

import pytest
import torch
import torchsde as theirs

from nde.compat import torchsde as ours
from tests.compat.torchsde.equations import Neural

Y0 = torch.zeros(4, 3)
TS = torch.tensor([0.0, 0.5])


def made(noise="diagonal", calculus="ito", **replaced):
    sde = Neural(noise, calculus, torch.float32)
    for name, value in replaced.items():
        setattr(sde, name, value)
    return sde


class Bare:
    """An equation that is no module, with what is asked for alone."""

    def __init__(self, **functions):
        self.noise_type, self.sde_type = "diagonal", "ito"
        self.__dict__.update(functions)


def drift(t, y):
    return -y


def wide(t, y):
    return y.new_zeros(y.shape[0], y.shape[1] + 1)


def motion(shape, area="none"):
    return theirs.BrownianInterval(0.0, 0.5, size=shape, levy_area_approximation=area)


def parameter(value):
    return torch.tensor(value, requires_grad=True)


REFUSED = {
    "no noise type": lambda: ((type("SDE", (), {"sde_type": "ito", "f": drift})(), Y0, TS), {}),
    "unknown noise type": lambda: ((made(noise_type="purple"), Y0, TS), {}),
    "no sde type": lambda: ((type("SDE", (), {"noise_type": "diagonal", "f": drift})(), Y0, TS), {}),
    "unknown sde type": lambda: ((made(sde_type="purple"), Y0, TS), {}),
    "y0 is a list": lambda: ((made(), [1.0, 2.0, 3.0], TS), {}),
    "y0 has no batch": lambda: ((made(), torch.zeros(3), TS), {}),
    "unknown method": lambda: ((made(), Y0, TS), {"method": "eulr"}),
    "method of the other calculus": lambda: ((made(), Y0, TS), {"method": "midpoint"}),
    "method of Ito": lambda: ((made(calculus="stratonovich"), Y0, TS), {"method": "srk"}),
    "milstein with general noise": lambda: ((made("general"), Y0, TS), {"method": "milstein"}),
    "srk with general noise": lambda: ((made("general"), Y0, TS), {"method": "srk"}),
    "method of the adjoint": lambda: ((made(calculus="stratonovich"), Y0, TS), {"method": "adjoint_reversible_heun"}),
    "times of another kind": lambda: ((made(), Y0, "01"), {}),
    "times decrease": lambda: ((made(), Y0, TS.flip(0)), {}),
    "times repeat": lambda: ((made(), Y0, [0.0, 0.0, 1.0]), {}),
    "times need gradients": lambda: ((made(), Y0, TS.clone().requires_grad_()), {}),
    "dt needs gradients": lambda: ((made(), Y0, TS), {"dt": parameter(0.1)}),
    "rtol needs gradients": lambda: ((made(), Y0, TS), {"rtol": parameter(0.1)}),
    "atol needs gradients": lambda: ((made(), Y0, TS), {"atol": parameter(0.1)}),
    "dt_min needs gradients": lambda: ((made(), Y0, TS), {"dt_min": parameter(0.1)}),
    "motion of one axis": lambda: ((made(), Y0, TS), {"bm": motion((3,))}),
    "motion of another batch": lambda: ((made(), Y0, TS), {"bm": motion((5, 3)), "method": "euler"}),
    "motion of another size": lambda: ((made(), Y0, TS), {"bm": motion((4, 2)), "method": "euler"}),
    "motion without area": lambda: ((made(), Y0, TS), {"bm": motion((4, 3)), "method": "srk"}),
    "motion with too little area": lambda: (
        (made(calculus="stratonovich"), Y0, TS), {"bm": motion((4, 3), "space-time"), "method": "log_ode"}
    ),
    "no drift": lambda: ((Bare(g=drift), Y0, TS), {}),
    "no diffusion": lambda: ((Bare(f=drift), Y0, TS), {}),
    "drift of another size": lambda: ((Bare(f=wide, g=drift), Y0, TS), {}),
    "drift of one axis": lambda: ((Bare(f=lambda t, y: y[0], g=drift), Y0, TS), {}),
    "diffusion of another size": lambda: ((Bare(f=drift, g=wide), Y0, TS), {}),
    "diagonal diffusion of three axes": lambda: ((Bare(f=drift, g=lambda t, y: y.unsqueeze(-1)), Y0, TS), {}),
    "scalar noise of two motions": lambda: ((made("general", noise_type="scalar"), Y0, TS), {}),
    "product of unknown size": lambda: ((Bare(f=drift, g_prod=lambda t, y, v: y * v), Y0, TS), {}),
    "a divergence without prior": lambda: ((Bare(f=drift, g=drift), Y0, TS), {"logqp": True}),
    "a name that is not there": lambda: ((Bare(f=drift, g=drift), Y0, TS), {"names": {"drift": "nothing"}}),
    "no diffusion but its product": lambda: (
        (Bare(f=drift, g_prod=lambda t, y, v: y * v), Y0, TS), {"bm": motion((4, 3)), "method": "milstein"}
    ),
}  # fmt: skip
REFUSED_BY_ADJOINT = {
    "no module and no parameters": lambda: ((Bare(f=drift, g=drift), Y0, TS), {}),
    "adjoint_rtol needs gradients": lambda: ((made(), Y0, TS), {"adjoint_rtol": parameter(0.1)}),
    "adjoint_atol needs gradients": lambda: ((made(), Y0, TS), {"adjoint_atol": parameter(0.1)}),
}
WARNED = {
    "unused arguments": lambda: ((made(), Y0, TS), {"purple": 1}),
    "adaptive Euler": lambda: ((made(), Y0, TS), {"method": "euler", "adaptive": True}),
    "steps of the least size": lambda: (
        (made(), Y0, TS), {"method": "milstein", "adaptive": True, "rtol": 0.0, "atol": 1e-6, "dt_min": 0.1}
    ),
}  # fmt: skip
WARNED_BY_ADJOINT = {
    "another backward method": lambda: (
        (made(calculus="stratonovich"), Y0, TS), {"method": "reversible_heun", "adjoint_method": "midpoint"}
    ),
    "times beside steps": lambda: (
        (made(calculus="stratonovich"), Y0, [0.0, 0.13, 0.5]), {"method": "reversible_heun"}
    ),
    "adaptive steps backwards": lambda: (
        (made(calculus="stratonovich"), Y0, TS), {"method": "reversible_heun", "adjoint_adaptive": True}
    ),
}  # fmt: skip


def raised(function, case):
    args, options = case()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what type it is, is the question
        function(*args, **{"dt": 0.1, **options})
    return caught.value


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # torchsde compares times on the tape
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("function", ["sdeint", "sdeint_adjoint"])
def test_what_torchsde_refuses_is_refused_with_its_exception(name, function) -> None:
    def case():
        args, options = REFUSED[name]()
        return args, {**options, "adjoint_params": ()} if function == "sdeint_adjoint" else options

    found, expected = (raised(getattr(library, function), case) for library in (ours, theirs))
    assert isinstance(found, type(expected)), f"{found!r}, but there {expected!r}"
    assert len(str(found)) > 20


@pytest.mark.parametrize("name", REFUSED_BY_ADJOINT)
def test_what_its_adjoint_refuses_is_refused_with_its_exception(name) -> None:
    found, expected = (raised(library.sdeint_adjoint, REFUSED_BY_ADJOINT[name]) for library in (ours, theirs))
    assert type(found) is type(expected) is ValueError


@pytest.mark.parametrize(
    ("name", "function"),
    [*((name, "sdeint") for name in WARNED), *((name, "sdeint_adjoint") for name in (*WARNED, *WARNED_BY_ADJOINT))],
)
def test_what_torchsde_warns_of_is_warned_of(name, function) -> None:
    texts = []
    for library in (ours, theirs):
        args, options = {**WARNED, **WARNED_BY_ADJOINT}[name]()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            getattr(library, function)(*args, **{"dt": 0.1, **options})
        assert {entry.category for entry in caught} == {UserWarning}
        texts.append({str(entry.message)[:20] for entry in caught})
    assert texts[0] == texts[1]


@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), float("inf"), 1e-9])
def test_step_sizes_that_would_never_end_are_refused(dt) -> None:
    with pytest.raises(ValueError, match="dt"):
        ours.sdeint(made(), Y0, TS + 1.0, dt=dt)


@pytest.mark.parametrize("noise", ["purple", None, 3])
def test_base_classes_refuse_what_is_not_known(noise) -> None:
    for library in (ours, theirs):
        with pytest.raises(ValueError, match="noise type"):
            library.SDEIto(noise)
        with pytest.raises(ValueError, match="sde type"):
            library.BaseSDE("diagonal", "purple")
    sde = ours.SDEStratonovich("scalar")
    assert isinstance(sde, ours.BaseSDE) and isinstance(sde, torch.nn.Module)
    assert (sde.noise_type, sde.sde_type) == ("scalar", "stratonovich")


def test_defaults_and_order_of_arguments_are_those_of_torchsde() -> None:
    import inspect

    for name in ("sdeint", "sdeint_adjoint"):
        found, expected = (inspect.signature(getattr(library, name)).parameters for library in (ours, theirs))
        assert [(p.name, p.default, p.kind) for p in found.values()] == [
            (p.name, p.default, p.kind) for p in expected.values()
        ]


def test_names_rename_functions() -> None:
    sde = made()
    sde.moves, sde.shakes = sde.h, sde.g
    names = {"drift": "moves", "diffusion": "shakes"}
    bm = motion((4, 3))
    renamed = ours.sdeint(sde, Y0, TS, bm=bm, method="euler", dt=0.1, names=names)
    sde.f = sde.h
    assert torch.equal(renamed, ours.sdeint(sde, Y0, TS, bm=bm, method="euler", dt=0.1))


def test_a_list_of_times_and_one_time_alone_are_taken() -> None:
    bm = motion((4, 3))
    as_list = ours.sdeint(made(), Y0, [0.0, 0.25, 0.5], bm=bm, method="euler", dt=0.1)
    as_tensor = ours.sdeint(made(), Y0, torch.tensor([0.0, 0.25, 0.5]), bm=bm, method="euler", dt=0.1)
    assert torch.equal(as_list, as_tensor)
    for library in (ours, theirs):
        assert torch.equal(library.sdeint(made(), Y0 + 1, TS[:1], bm=bm, method="euler"), (Y0 + 1).unsqueeze(0))


def test_a_motion_of_ones_own_is_asked_as_torchsde_asks_it() -> None:
    asked = []

    class Straight:
        shape, levy_area_approximation, dtype = (4, 3), "space-time", torch.float32

        def __call__(self, ta, tb, return_U=False, return_A=False):
            asked.append((float(ta), float(tb)))
            w = (tb - ta) * torch.ones(4, 3)
            return (w, w * (tb - ta) / 2) if return_U else w

    results = []
    for library in (ours, theirs):
        asked.clear()
        results.append((library.sdeint(made(), Y0, TS, bm=Straight(), dt=0.15), list(asked)))
    assert results[0][1] == results[1][1]
    torch.testing.assert_close(results[0][0], results[1][0])


def test_states_that_are_not_finite_are_handed_on_by_fixed_steps_alone() -> None:
    sde = made(f=lambda t, y: torch.where(t > 0.2, torch.full_like(y, torch.nan), -y))
    ys = ours.sdeint(sde, Y0, [0.0, 0.15, 0.5], method="euler", dt=0.05)
    assert bool(ys[1].isfinite().all()) and bool(ys[2].isnan().all())
    for library in (ours, theirs):
        with pytest.raises(AssertionError):
            library.sdeint(sde, Y0, TS, method="milstein", dt=0.05, adaptive=True)
    with pytest.raises(ours.LegacySolverError, match=r"the drift, evaluated at t = 0\.2") as caught:
        ours.sdeint(sde, Y0, TS, method="milstein", dt=0.05, adaptive=True)
    assert 0.15 < caught.value.solution.t1 < 0.21
