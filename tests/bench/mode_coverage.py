"""Mode coverage of GANs with and without a penalty, on 25 Gaussians in the plane.

`python -m tests.bench.mode_coverage` trains a relativistic GAN with R1 and R2 and a plain
non-saturating one with the seeds 0, 1 and 2, about 20 s each on one idle core, and prints one line
per run: the number of covered modes (of 25), and the number of samples (of 10,000) at the rarest
mode (400 in the data). Losses, penalties and EMA are those of the project.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genmodels.base.schedules import scheduled
from genmodels.base.seeding import generator
from genmodels.networks.blocks import draw_weights
from genmodels.objectives.adversarial import LOSSES, LossName
from genmodels.objectives.penalties import squared_gradient_norm
from genmodels.training.ema import EMA

SIGMA = 0.05
CENTRES = torch.cartesian_prod(torch.arange(-2.0, 3.0), torch.arange(-2.0, 3.0))
STEPS, BATCH, LATENT = 6000, 256, 2
LEARNING_RATE, HALF_LIFE = 2e-3, 200
NUM_SAMPLES = 10_000


@dataclass(frozen=True)
class Game:
    """A variant: the loss, and gamma of R1 + R2 (0 = no penalty)."""

    loss: LossName
    gamma: float


PENALISED, PLAIN = Game("relativistic", 0.1), Game("non_saturating", 0.0)


@dataclass(frozen=True)
class Coverage:
    """The modes that 10,000 samples cover.

    Attributes:
        modes: Gaussians with at least 20 samples within four standard deviations.
        rarest: Samples at the Gaussian with the fewest samples.
    """

    modes: int
    rarest: int


def coverage(samples: Tensor) -> Coverage:
    """Counts samples (N, 2) per nearest Gaussian."""
    distance, nearest = torch.cdist(samples, CENTRES).min(1)
    within = torch.bincount(nearest[distance <= 4 * SIGMA], minlength=len(CENTRES))
    counts = torch.bincount(nearest, minlength=len(CENTRES))
    return Coverage(int((within >= 20).sum()), int(counts.min()))


def train(game: Game, seed: int) -> Coverage:
    """Trains with one seed and measures the averaged generator."""
    players = {"discriminator": _mlp(2, 1), "generator": _mlp(LATENT, 2)}
    critic, maker = players.values()
    optimizers = {}
    for name, player in players.items():
        draw_weights(player, generator(seed, name))
        optimizers[name] = torch.optim.Adam(
            player.parameters(), LEARNING_RATE, betas=(0.0, 0.99), fused=True
        )
    average = EMA(maker, HALF_LIFE * BATCH)
    rng, loss = generator(seed, "steps"), LOSSES[game.loss]
    for step in range(STEPS):
        rate = scheduled("cosine", step, STEPS, LEARNING_RATE, 0.1 * LEARNING_RATE)
        for name, player in players.items():
            real, fake = _real(rng), maker(torch.randn(BATCH, LATENT, generator=rng))
            if name == "discriminator":
                points = torch.cat([real, fake.detach()]).requires_grad_()
                logits = critic(points).squeeze(1)
                value = loss.discriminator(*logits.split(BATCH)).mean()
                if game.gamma:  # twice the mean over both halves of the batch is R1 + R2
                    norm = squared_gradient_norm(logits, points)
                    value = value + 0.5 * game.gamma * 2 * norm.mean()
            else:
                logits = critic(torch.cat([real, fake])).squeeze(1)
                value = loss.generator(*logits.split(BATCH)).mean()
            _update(value, player, optimizers[name], rate)
        average.update(BATCH, (step + 1) * BATCH)
    with torch.no_grad(), average.applied():
        return coverage(maker(torch.randn(NUM_SAMPLES, LATENT, generator=generator(seed, "z"))))


def table(games: Sequence[Game], seeds: Sequence[int]) -> list[tuple[Game, int, Coverage]]:
    """Every variant with every seed; prints each line as soon as it is known."""
    rows = []
    for game in games:
        for seed in seeds:
            got = train(game, seed)
            rows.append((game, seed, got))
            print(
                f"{game.loss}, gamma {game.gamma}, seed {seed}: {got.modes} of {len(CENTRES)} "
                f"modes, {got.rarest} samples at the rarest",
                flush=True,
            )
    return rows


def _mlp(num_inputs: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_inputs, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, num_outputs),
    )


def _real(rng: torch.Generator) -> Tensor:
    mode = torch.randint(len(CENTRES), (BATCH,), generator=rng)
    return CENTRES[mode] + SIGMA * torch.randn(BATCH, 2, generator=rng)


def _update(
    value: Tensor, player: nn.Module, optimizer: torch.optim.Optimizer, rate: float
) -> None:
    optimizer.param_groups[0]["lr"] = rate
    optimizer.zero_grad()
    value.backward(inputs=list(player.parameters()))
    optimizer.step()


def main() -> None:
    """Prints a line per run; exit code 1 if the penalised game misses a mode, or the plain none."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.mode_coverage", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds from 0 on (default: 3)")
    torch.set_num_threads(1)
    for game, seed, got in table([PENALISED, PLAIN], range(parser.parse_args().seeds)):
        if (got.modes == len(CENTRES)) != (game is PENALISED):
            sys.exit(f"not as expected: {game.loss}, gamma {game.gamma}, seed {seed}")


if __name__ == "__main__":
    main()
