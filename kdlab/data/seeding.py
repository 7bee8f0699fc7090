"""Randomness with an address: who draws says from where, and nobody touches the global stream."""

import hashlib

import torch


def generator_at(*address: int | str) -> torch.Generator:
    """Return a CPU generator that depends on nothing but its address.

    Args:
        address: For example ``("order", seed, epoch)``. Neighbouring numbers give unrelated streams: the seed is the
            first 8 bytes of the address's SHA-256.
    """
    digest = hashlib.sha256("/".join(map(str, address)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
