"""The interface of a model: phases, a training step, a validation step, sampling."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genmodels.base.config import ModelConfig
from genmodels.networks.shape import ImageShape

#: Images per forward pass when a model scores a whole split.
SCORING_BATCH = 500


class Images(NamedTuple):
    """Images with their classes, if the data has labels.

    Attributes:
        x: (N, C, H, W) float32 in [0, 1].
        y: (N,) int64 from 0, or None.
    """

    x: Tensor
    y: Tensor | None

    def at(self, index: slice | Tensor) -> "Images":
        """The images at an index, with their classes."""
        return Images(self.x[index], None if self.y is None else self.y[index])


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn within a step.

    Attributes:
        name: Argument of `training_step`, and prefix of the columns in the history.
        parameters: Parameters that this phase updates; every parameter of a model is in exactly
            one phase.
        repeats: Updates per step, each on a new batch (discriminator steps of a GAN).
        learning_rate: Initial learning rate; None = the config's. The config's schedule applies.
        betas: Adam's betas; None = the config's.
        decayed: Parameters with weight decay; None = all with more than one dimension.
        paces: Learning rates of single parameters as multiples of the phase's.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    repeats: int = 1
    learning_rate: float | None = None
    betas: tuple[float, float] | None = None
    decayed: Sequence[nn.Parameter] | None = None
    paces: tuple[tuple[nn.Parameter, float], ...] = ()


class GenerativeModel(nn.Module, ABC):
    """A model that the loop trains and the evaluation scores.

    Attributes:
        config: Settings.
        shape: Shape of the images.
        num_classes: Number of classes of the data; 0 for data without labels.
        family: `vae` or `gan`; reports compare models within a family.
    """

    family: ClassVar[str]

    def __init__(self, config: ModelConfig, shape: ImageShape, num_classes: int) -> None:
        super().__init__()
        if config.conditional and num_classes < 2:
            raise ValueError(
                f"conditional: true needs labelled images of at least 2 classes, and the data has "
                f"{num_classes or 'no labels'}"
            )
        self.config = config
        self.shape = shape
        self.num_classes = num_classes

    @abstractmethod
    def initialise(self, rng: torch.Generator, images: Images) -> None:
        """Draws all weights.

        Args:
            rng: Only source of randomness, on the CPU.
            images: Training images on the model's device; the initial decoder bias or codebook
                depends on them.
        """

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The phases of a step, in order."""

    @abstractmethod
    def training_step(
        self, x: Tensor, y: Tensor | None, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """One forward pass of a phase.

        Args:
            x: (N, C, H, W) in [0, 1].
            y: (N,) classes for a conditional model, None otherwise.
            phase: Name of the phase.
            step: From 0; schedules depend on it.
            rng: Source of all noise; the loop seeds it before every update.

        Returns:
            Scalars: `loss` is minimised, the others are logged as `<phase>/<key>`.
        """

    def after_update(self, phase: str) -> None:
        """Applies constraints on weights; called after each optimiser step."""

    @abstractmethod
    def validation_step(
        self, x: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The monitored values on held-out images, under the final objective of all schedules.

        Args:
            x: (N, C, H, W) in [0, 1].
            y: (N,) classes for a conditional model, None otherwise.
            rng: Source of all noise.

        Returns:
            (N,) values per image; the loop logs their mean as `valid/<key>`. The last one is the
            headline.
        """

    def observed(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """The training images (N, C, H, W) after static preprocessing; called once per training."""
        return x

    def fit_sampler(self, images: Images, rng: torch.Generator) -> None:
        """Fits a sampler that is not trained by gradients; called before samples are drawn.

        Args:
            images: Training images.
            rng: Source of all noise.
        """

    def sample_latent(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, latent_dim) draws from the prior N(0, I); the same rng gives the same draws.

        Args:
            n: Number of draws.
            rng: Source of all noise.
            labels: (n,) classes, for a prior that depends on the class.
        """
        return normal((n, self.config.latent_dim), rng, self.device)

    @abstractmethod
    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, ...) to images (N, C, H, W) in [0, 1], in evaluation mode.

        A conditional model needs `labels` (N,).
        """

    def sample(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, C, H, W) in [0, 1], in evaluation mode; the same rng gives the same images.

        Args:
            n: Number of images.
            rng: Source of all noise.
            labels: (n,) classes for a conditional model; None = 0, 1, 2, ... in turn.
        """
        labels = self.labels_or_cycle(n, labels)
        return self.decode(self.sample_latent(n, rng, labels), labels)

    def labels_or_cycle(self, n: int, labels: Tensor | None) -> Tensor | None:
        """(n,) labels, by default all classes in turn; None for an unconditional model."""
        if not self.conditional:
            return None
        if labels is None:
            return torch.arange(n, device=self.device) % self.num_classes
        return labels.to(self.device)

    def one_hot(self, labels: Tensor | None) -> Tensor:
        """(N,) classes to (N, num_classes) zeros and ones.

        Raises:
            ValueError: `labels` is None.
        """
        if labels is None:
            raise ValueError("a conditional model needs labels")
        return F.one_hot(labels.to(self.device), self.num_classes).float()

    @property
    def conditional(self) -> bool:
        """Whether the model is conditioned on classes."""
        return self.config.conditional

    def averaged_module(self) -> nn.Module:
        """The module whose weights the EMA averages."""
        return self

    def recalibrate(self, rng: torch.Generator) -> None:
        """Re-estimates batch norm statistics for averaged weights."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device


@contextlib.contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; on exit every submodule gets its previous mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def normal(shape: Sequence[int], rng: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal noise, drawn on the generator's device and then moved to `device`."""
    return torch.randn(tuple(shape), generator=rng, device=rng.device).to(device)


def scoring_batches(num: int, size: int = SCORING_BATCH) -> Iterator[slice]:
    """Consecutive slices of `num` rows, at most `size` rows each."""
    for start in range(0, num, size):
        yield slice(start, start + size)
