"""Problems to try methods on, each with a solution that is proved to solve it."""

from nde.pinn.zoo.case import Case
from nde.pinn.zoo.cavity import CavitySolution, lid_driven_cavity, solve_cavity
from nde.pinn.zoo.elliptic import biharmonic_2d, helmholtz_2d, poisson_1d, poisson_2d
from nde.pinn.zoo.evolution import advection_1d, burgers_1d, heat_1d, kdv_soliton, wave_1d
from nde.pinn.zoo.many_dimensions import black_scholes_barenblatt, hamilton_jacobi_bellman, sine_gordon
from nde.pinn.zoo.spectral import SpectralSolution, solve_periodic
from nde.pinn.zoo.stiff import allen_cahn_1d, kuramoto_sivashinsky
from nde.pinn.zoo.systems import elastic_rest_2d, elasticity_2d, kovasznay_flow, navier_cauchy, navier_stokes

__all__ = [
    "Case",
    "poisson_1d", "poisson_2d", "helmholtz_2d", "biharmonic_2d",
    "advection_1d", "heat_1d", "wave_1d", "burgers_1d", "kdv_soliton", "allen_cahn_1d", "kuramoto_sivashinsky",
    "elasticity_2d", "elastic_rest_2d", "kovasznay_flow", "lid_driven_cavity", "navier_cauchy", "navier_stokes",
    "sine_gordon", "hamilton_jacobi_bellman", "black_scholes_barenblatt",
    "SpectralSolution", "solve_periodic", "CavitySolution", "solve_cavity",
]  # fmt: skip
