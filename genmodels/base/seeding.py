"""Randomness as a function of (seed, purpose, step).

No random state passes from one step to the next, and no global random state is read or written. A
resumed run therefore draws the same numbers as an uninterrupted one.
"""

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, such as `derive(0, "shuffle", epoch)`.

    Torch's CPU generator uses the lower 32 bits.
    """
    text = ":".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(
    seed: int, *purpose: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A new generator seeded with `derive(seed, *purpose)`."""
    return torch.Generator(device).manual_seed(derive(seed, *purpose))
