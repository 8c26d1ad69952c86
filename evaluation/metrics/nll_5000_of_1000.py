"""`iwae_nll` with 5,000 draws of each of the first 1,000 images, the number of draws of papers."""

from evaluation.metrics.iwae_nll import bound_metric

METRIC = bound_metric("nll_5000_of_1000", 5000, 1000)
