"""`iwae_nll` with 200 draws of each of the first 2,000 images: a fifth of the time of `nll_200`."""

from evaluation.metrics.iwae_nll import bound_metric

METRIC = bound_metric("nll_200_of_2000", 200, 2000)
