"""Metrics, statistics, reference rows and figures for anybody's generative image model."""

from evaluation import torchvision_ops

# Stands before the first import of torchvision or torchmetrics, whichever module asks for them.
torchvision_ops.declare_missing()
