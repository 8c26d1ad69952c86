"""Random generators with one stream per purpose, so that metrics draw independent noise."""

import hashlib

import torch


def generator(seed: int, purpose: str) -> torch.Generator:
    """A generator on the CPU, seeded with a hash of the seed and the purpose.

    Args:
        seed: For example `Seeds.sample`.
        purpose: Kind of noise, for example `codes`.
    """
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
