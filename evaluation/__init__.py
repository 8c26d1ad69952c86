"""Metrics, statistics, reference rows and figures for anybody's generative image model.

A model is any object with the methods of `evaluation.measuring.protocols`. `sample` is enough for
most metrics; a set of images from another program works as well.

>>> import torch
>>> import evaluation
>>> rng = torch.Generator().manual_seed(0)
>>> def squares(n):  # "real" images: a bright square somewhere in the dark
...     x = torch.zeros(n, 1, 12, 12)
...     for image, (i, j) in zip(x, torch.randint(8, (n, 2), generator=rng).tolist()):
...         image[0, i : i + 4, j : j + 4] = 1
...     return x
>>> class Grey:  # a model that has learnt nothing but the mean
...     def sample(self, n, rng):
...         return torch.full((n, 1, 12, 12), 0.11)
>>> test = evaluation.RealImages.of(squares(100), split="test")
>>> train = evaluation.RealImages.of(squares(300), split="train")
>>> classifier = evaluation.MissingExtractor("classifier", "no_extractor")
>>> settings = evaluation.Settings(evaluation.Seeds(train=0, sample=0, metric=0), max_samples=100)
>>> judged = evaluation.evaluate(
...     Grey(), ["c2st_pixel", "fid"], reference=test, train=train, extractors=[classifier],
...     settings=settings,
... )
>>> for record in judged.records:
...     print(record.name, record.value, record.n_fake, record.reason)
c2st_pixel 1.0 100 None
c2st_pixel_auroc 1.0 100 None
fid_classifier None 100 no_extractor

`python -m pipelines.evaluate --images DIR --reference DIR` does the same for folders of pictures.
"""

import importlib
from typing import Any

from evaluation import torchvision_ops

# Stands before the first import of torchvision or torchmetrics, whichever module asks for them.
torchvision_ops.declare_missing()

#: What `evaluation.<name>` is and where it lives; imported when it is asked for, because most of
#: the pipeline needs little of it.
_PUBLIC = {
    "evaluate": "runner",
    "evaluate_images": "runner",
    "Evaluation": "runner",
    "Settings": "runner",
    "RealImages": "measuring.context",
    "Seeds": "measuring.context",
    "MissingExtractor": "measuring.extractors",
    "Record": "measuring.records",
}


def __getattr__(name: str) -> Any:
    """The public names."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'evaluation' has no attribute {name!r}")
    return getattr(importlib.import_module(f"evaluation.{_PUBLIC[name]}"), name)
