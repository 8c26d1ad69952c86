"""Log-densities over the latent space against torch.distributions."""

import torch

from genmodels.objectives.priors import mixture_log_prob, normal_log_prob, standard_normal_log_prob


def test_densities_equal_torch_distributions():
    rng = torch.Generator().manual_seed(0)
    z, mean, logvar = (torch.randn(7, 5, generator=rng) for _ in range(3))
    normals = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    torch.testing.assert_close(normal_log_prob(z, mean, logvar), normals.log_prob(z).sum(1))
    torch.testing.assert_close(
        standard_normal_log_prob(z), torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    )


def test_an_even_mixture_equals_the_explicit_one():
    rng = torch.Generator().manual_seed(0)
    z, means, logvars = (torch.randn(n, 5, generator=rng) for n in (11, 4, 4))
    components = torch.distributions.Independent(
        torch.distributions.Normal(means, (0.5 * logvars).exp()), 1
    )
    weights = torch.distributions.Categorical(torch.ones(4))
    explicit = torch.distributions.MixtureSameFamily(weights, components)
    torch.testing.assert_close(mixture_log_prob(z, means, logvars), explicit.log_prob(z))
