"""Randomness as a function of (seed, purpose, step): nothing random is carried from step to step.

A resumed run therefore draws exactly what the uninterrupted run would have drawn, and no global
random state is read or written.
"""

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, such as `derive(0, "shuffle", epoch)`: a hash of 63 bits.

    Torch's generator on the CPU uses the lower 32 of them.
    """
    text = ":".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(
    seed: int, *purpose: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator seeded with `derive(seed, *purpose)`."""
    return torch.Generator(device).manual_seed(derive(seed, *purpose))
