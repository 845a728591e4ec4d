"""The product of a constant sparse matrix and a dense one, with every transform of torch.func."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["SparsePair", "sparse_product"]


class SparsePair:
    """A constant matrix and its transpose by rows, so that neither direction of the product has to sort.

    Args:
        rows, columns, values: The entries, in any order, no place twice.
        shape: Rows and columns.
        dtype, device: Of the values.
    """

    def __init__(
        self,
        rows: np.ndarray[Any, Any],
        columns: np.ndarray[Any, Any],
        values: np.ndarray[Any, Any],
        shape: tuple[int, int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        from scipy import sparse

        matrix = sparse.coo_array((values, (rows, columns)), shape=shape).tocsr()
        self.matrix = _as_torch(matrix, dtype, device)
        self.transpose = _as_torch(matrix.T.tocsr(), dtype, device)


def _as_torch(matrix: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    with warnings.catch_warnings(), torch.inference_mode(False):
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(np.ascontiguousarray(matrix.data)).to(dtype),
            size=matrix.shape,
            device=device,
            check_invariants=False,  # SciPy's matrices keep them
        )


class _Product(torch.autograd.Function):
    """``matrix @ x`` for a constant matrix: linear in ``x``, so that all derivatives are products again.

    The pair goes in as an object, because torch.func cannot wrap sparse tensors.
    """

    @staticmethod
    def forward(x: Tensor, pair: SparsePair, transposed: bool) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # sparse products know no short precisions
            return (pair.transpose if transposed else pair.matrix) @ x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.pair, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _Product.apply(grads[0], ctx.pair, not ctx.transposed), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _Product.apply(tangents[0], ctx.pair, ctx.transposed)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, pair: SparsePair, transposed: bool) -> Any:
        columns = x.movedim(in_dims[0], -1)
        result = _Product.apply(columns.reshape(columns.shape[0], -1), pair, transposed)
        return result.reshape(-1, *columns.shape[1:]), columns.dim() - 1


def sparse_product(pair: SparsePair, x: Tensor) -> Tensor:
    """Return the product of the matrix and ``x``, shape ``(rows, k)`` for ``x`` of shape ``(columns, k)``."""
    result: Tensor = _Product.apply(x, pair, False)
    return result
