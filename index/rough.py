"""Rough inner products, where the CPU has them quicker than those of float32."""

from typing import Protocol

from index.vectors import Floats, Vectors


class RoughProducts(Protocol):
    """Multiplies vectors with some queries."""

    @property
    def largest_error(self) -> float:
        """No product with a vector of at most unit length is farther from the true one."""

    def of(self, vectors_MD: Vectors, /) -> Floats:
        """Return the products, M x Q, float32."""


def rough_products(query_QD: Vectors) -> RoughProducts | None:
    """Return products in bfloat16, None where the CPU lacks it; torch is imported only now."""
    from embedder.bfloat16 import BFloat16Products, has_bfloat16

    return BFloat16Products(query_QD) if has_bfloat16() else None
