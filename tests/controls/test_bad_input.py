"""Wrong data and times are refused, with the argument named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nde.controls import HermiteCubicPath, LinearPath, NaturalCubicPath, RectilinearPath

DATA = torch.zeros(2, 4, 3)


@pytest.mark.parametrize(
    ("x", "times", "error", "message"),
    [
        ([1.0, 2.0], None, TypeError, "x must be a tensor of floating point, but is a list"),
        (torch.zeros(3, 2, dtype=torch.int64), None, TypeError, "x must be a tensor of floating point"),
        (torch.zeros(3), None, ValueError, r"x must have the shape \(batch..., length, channels\), but has \(3,\)"),
        (torch.zeros(1, 3), None, ValueError, "at least 2 observations"),
        (DATA, "abcd", TypeError, "times must be a tensor or a sequence"),
        (DATA, torch.zeros(4, dtype=torch.complex64), TypeError, "times must hold real numbers"),
        (DATA, torch.arange(5.0), ValueError, r"times must have the shape \(4,\)"),
        (DATA, [0.0, 1.0, 1.0, 2.0], ValueError, r"times\[1\] = 1 and times\[2\] = 1"),
        (DATA, [0.0, 1.0, torch.nan, 2.0], ValueError, "times must be finite"),
    ],
)
@pytest.mark.parametrize("kind", [LinearPath, NaturalCubicPath, HermiteCubicPath])
def test_wrong_data_or_times(kind: Any, x: Any, times: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        kind(x, times)


def test_wrong_coefficients() -> None:
    with pytest.raises(ValueError, match=r"coefficients of a NaturalCubicPath must have the shape .* 4 \* channels"):
        NaturalCubicPath.from_coefficients(torch.zeros(2, 4, 3))
    with pytest.raises(TypeError, match="coefficients must be a tensor of floating point, but is a list"):
        LinearPath.from_coefficients([1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"times must have the shape \(5,\)"):
        NaturalCubicPath.from_coefficients(torch.zeros(2, 4, 8), torch.arange(4.0))


def test_a_rectilinear_path_wants_times_and_first_values() -> None:
    with pytest.raises(TypeError, match=r"time_channel must be an integer, but is 0\.5"):
        RectilinearPath(DATA, time_channel=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="time_channel must be one of the 3 channels"):
        RectilinearPath(DATA, time_channel=3)
    holed = DATA.clone()
    holed[0, 2, 0] = torch.nan
    with pytest.raises(ValueError, match="no missing value in its time_channel"):
        RectilinearPath(holed)
    holed = DATA.clone()
    holed[0, 0, 1] = torch.nan
    with pytest.raises(ValueError, match="x must have a first value in every channel"):
        RectilinearPath(holed)
