"""Gaussian random fields with a covariance that is a function of the Laplacian, drawn in its eigenfunctions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import fft

from nde.data.checks import check_choice, check_count, check_number, check_positive
from nde.data.problem import Array

__all__ = ["Boundary", "SpectralField"]

Boundary = Literal["periodic", "neumann", "dirichlet"]


@dataclass(frozen=True)
class SpectralField:
    """The law ``N(0, sigma^2 (-Laplace + tau^2)^(-alpha))`` on a cube of side ``length``.

    The eigenvalue of each eigenfunction of the Laplacian, normalised in L2, is the variance of its coefficient. With
    ``alpha > d/2 + s`` samples have ``s`` derivatives. The random fields of the data sets of Li et al. (2021,
    "Fourier neural operator for parametric partial differential equations") are of this kind.

    Args:
        alpha: Decay of the spectrum.
        tau: Inverse length of correlation.
        sigma: Scale; None for ``tau^(alpha - d/2)``, with which the variance hardly depends on ``tau``.
        boundary: Of the Laplacian. ``"periodic"`` has its points at ``i length / N``; the others have them at the
            centres of ``N`` cells.
        constant: Whether the constant function is drawn as well. Without it, every sample has mean zero.
        length: Side of the cube.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range.
    """

    alpha: float
    tau: float
    sigma: float | None = None
    boundary: Boundary = "periodic"
    constant: bool = False
    length: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.alpha, "alpha")
        check_number(self.tau, "tau", 0.0)
        if self.sigma is not None:
            check_positive(self.sigma, "sigma")
        check_choice(self.boundary, ("periodic", "neumann", "dirichlet"), "boundary")
        check_positive(self.length, "length")
        if self.tau == 0 and self.sigma is None:
            raise ValueError("sigma must be given where tau is zero: its default would be zero too.")
        if self.tau == 0 and self.constant and self.boundary != "dirichlet":
            raise ValueError("constant=True needs tau > 0: the constant function would have infinite variance.")

    def deviations(self, shape: tuple[int, ...]) -> Array:
        """Return the standard deviation of each coefficient, shape ``shape``, ordered as the transform orders them."""
        step = (2 if self.boundary == "periodic" else 1) * np.pi / self.length
        laplacian = np.zeros(shape)
        for axis, count in enumerate(shape):
            if self.boundary == "periodic":
                wave = fft.fftfreq(count, 1 / count)
            else:
                wave = np.arange(count) + (1.0 if self.boundary == "dirichlet" else 0.0)
            laplacian += ((step * wave) ** 2).reshape([-1 if other == axis else 1 for other in range(len(shape))])
        sigma = self.tau ** (self.alpha - len(shape) / 2) if self.sigma is None else self.sigma
        symbol = laplacian + self.tau**2
        if self.boundary != "dirichlet" and not self.constant:
            symbol.flat[0] = np.inf
        return np.asarray(sigma * symbol ** (-self.alpha / 2))

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return one field on ``shape`` points, float64.

        Raises:
            TypeError: The shape holds other things than integers.
            ValueError: There are fewer than two points along an axis.
        """
        for count in shape:
            check_count(count, "points along each axis", 2)
        noise = rng.standard_normal(shape)
        deviations = self.deviations(shape)
        # in each basis, orthonormal vectors times sqrt(points / volume) are the values of functions normalised in L2
        scale = np.sqrt(noise.size / self.length ** len(shape))
        if self.boundary == "periodic":
            # white noise has independent coefficients with the symmetry of real fields
            return np.asarray(fft.ifftn(fft.fftn(noise) * deviations).real * scale)
        transform = fft.idctn if self.boundary == "neumann" else fft.idstn
        return np.asarray(transform(noise * deviations, type=2, norm="ortho") * scale)
