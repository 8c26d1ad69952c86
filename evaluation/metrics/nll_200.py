"""`iwae_nll` with 200 draws of each of the first 10,000 images, as papers report it.

VAE and IWAE papers give the bound of the whole test split of MNIST; about a minute on one thread
with the small networks of the reproductions.
"""

from evaluation.metrics.iwae_nll import bound_metric

METRIC = bound_metric("nll_200", 200, 10_000)
