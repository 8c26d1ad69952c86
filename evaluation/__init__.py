"""Metrics, statistics, reference rows and figures for any generative image model.

A model is any object with the methods of `evaluation.measuring.protocols`. Most metrics need only
`sample`; `evaluation.runner.evaluate_images` scores a set of images from another program.

>>> import torch
>>> from evaluation.measuring.context import Seeds
>>> from evaluation.measuring.extractors import MissingExtractor
>>> from evaluation.measuring.real_images import RealImages
>>> from evaluation.runner import Settings, evaluate
>>> rng = torch.Generator().manual_seed(0)
>>> def squares(n):  # "real" images: a bright square at a random place
...     x = torch.zeros(n, 1, 12, 12)
...     for image, (i, j) in zip(x, torch.randint(8, (n, 2), generator=rng).tolist()):
...         image[0, i : i + 4, j : j + 4] = 1
...     return x
>>> class Grey:  # a model that has learned only the mean
...     def sample(self, n, rng):
...         return torch.full((n, 1, 12, 12), 0.11)
>>> test = RealImages.of(squares(100), split="test")
>>> train = RealImages.of(squares(300), split="train")
>>> classifier = MissingExtractor("classifier", "no_extractor")
>>> settings = Settings(Seeds(train=0, sample=0, metric=0), max_samples=100)
>>> evaluation = evaluate(
...     Grey(), ["c2st_pixel", "fid"], reference=test, train=train, extractors=[classifier],
...     settings=settings,
... )
>>> for record in evaluation.records:
...     print(record.name, record.value, record.n_fake, record.reason)
c2st_pixel 1.0 100 None
c2st_pixel_auroc 1.0 100 None
fid_classifier None 100 no_extractor

The package imports neither `genmodels` nor `pipelines`. The command `genmodels score` does the same
for folders of pictures.
"""

from evaluation import torchvision_ops

# Runs before any module of the package can import torchvision or torchmetrics.
torchvision_ops.declare_missing()
