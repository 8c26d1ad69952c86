"""Generators for one purpose: metrics that draw different noise do not share a stream."""

import hashlib

import torch


def generator(seed: int, purpose: str) -> torch.Generator:
    """A generator on the CPU, seeded with a hash of the seed and the purpose.

    Args:
        seed: Such as `Seeds.sample`.
        purpose: The kind of noise, such as `codes`.
    """
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
