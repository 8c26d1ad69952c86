import math

import pytest
import torch

from genmodels.base.codebook import Codebook, k_means, perplexity, straight_through, used_codes
from genmodels.base.seeding import generator


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def codebook(num_codes=8, dim=3, decay=0.9, revival_threshold=0.0):
    book = Codebook(num_codes, dim, decay, revival_threshold)
    book.vectors.copy_(drawn(num_codes, dim, seed=9))
    return book


def update(book, z, rng=None):
    return book.update(z, book.nearest(z), rng or generator(0, "revival"))


def test_the_nearest_code_is_the_one_of_least_distance():
    book, z = codebook(), drawn(5, 7, 3)
    explicit = (z[:, :, None] - book.vectors).square().sum(3).argmin(2)
    assert torch.equal(book.nearest(z), explicit)


def test_the_nearest_code_of_a_codes_vector_is_itself():
    book = codebook(num_codes=500)
    book.vectors.mul_(1e-3).add_(10)  # a small spread far from 0
    assert torch.equal(book.nearest(book.vectors), torch.arange(500))


def test_the_nearest_code_does_not_depend_on_the_other_rows():
    book, z = codebook(), drawn(200, 3)
    together = book.nearest(z)
    assert all(book.nearest(z[i : i + 1]).item() == together[i] for i in range(200))


def test_straight_through_has_the_value_of_the_code_and_the_gradient_of_the_decoder():
    weight = drawn(3, 4, seed=1)
    z = drawn(6, 3).requires_grad_()
    vectors = drawn(6, 3, seed=2).requires_grad_()
    passed = straight_through(z, vectors)
    assert torch.equal(passed, vectors)
    loss = (passed @ weight).tanh().square().sum()
    loss.backward()
    direct = vectors.detach().clone().requires_grad_()
    (direct @ weight).tanh().square().sum().backward()
    torch.testing.assert_close(z.grad, direct.grad, rtol=1e-6, atol=0)
    assert vectors.grad is None


def test_the_moving_averages_equal_a_plain_recomputation():
    book = codebook(decay=0.9)
    counts = [1.0] * 8
    sums = book.vectors.double().clone()
    for step in range(20):
        z = drawn(40, 3, seed=step) + torch.tensor([0.3, 0.0, -0.2])
        codes = book.nearest(z)
        update(book, z)
        for k in range(8):
            mine = z[codes == k].double()
            counts[k] = 0.9 * counts[k] + 0.1 * len(mine)
            sums[k] = 0.9 * sums[k] + 0.1 * mine.sum(0)
    torch.testing.assert_close(book.counts, torch.tensor(counts), rtol=1e-6, atol=0)
    plain = (sums / torch.tensor(counts).double()[:, None]).float()
    torch.testing.assert_close(book.vectors, plain, rtol=1e-5, atol=1e-6)


def test_a_code_under_constant_encodings_follows_the_closed_form():
    book = codebook(num_codes=1, decay=0.99)
    start, target = book.vectors[0].clone(), torch.tensor([2.0, -1.0, 0.5])
    for _ in range(100):
        update(book, target.expand(5, 3))
    count = 5 + (1 - 5) * 0.99**100
    assert book.counts.item() == pytest.approx(count, rel=1e-5)
    left = 0.99**100 / count  # share of the initial sum, 1 * initial vector
    expected = left * start + (1 - left) * target
    torch.testing.assert_close(book.vectors[0], expected, rtol=1e-5, atol=1e-6)


def test_an_unused_code_is_bit_identical_after_an_update():
    book = codebook()
    before = book.vectors.clone()
    z = before[:3] + 0.01
    assert sorted(set(book.nearest(z).tolist())) == [0, 1, 2]
    update(book, z)
    assert torch.equal(book.vectors[3:], before[3:])
    assert (book.vectors[:3] != before[:3]).any(1).all()


def test_a_code_with_an_underflowed_count_can_be_used_again():
    book = codebook(num_codes=2, decay=0.0)
    before = book.vectors.clone()
    for _ in range(3):
        update(book, before[:1] + 0.01)
    assert book.counts[1] == 0
    assert torch.equal(book.vectors[1], before[1])
    update(book, before[1:] + 0.02)
    torch.testing.assert_close(book.vectors[1], before[1] + 0.02)


def test_dead_codes_are_replaced_by_encodings_of_the_batch():
    book = codebook(revival_threshold=2.0)
    before = book.vectors.clone()
    z = (before[:2, None] + 0.001 * drawn(2, 50, 3)).flatten(0, 1)
    assert set(book.nearest(z).tolist()) == {0, 1}
    replaced = update(book, z)
    assert replaced == 6
    equal = (book.vectors[2:, None] == z).all(2).any(1)
    assert equal.all()
    assert (book.counts[2:] == 2).all()
    assert not (book.vectors[:2, None] == z).all(2).any()


def test_the_encodings_that_replace_dead_codes_depend_on_the_generator_alone():
    z = drawn(50, 3)
    books = [codebook(num_codes=64, revival_threshold=2.0) for _ in range(3)]
    for book, seed in zip(books, (0, 0, 1), strict=True):
        update(book, z, generator(seed, "revival"))
    assert torch.equal(books[0].vectors, books[1].vectors)
    assert not torch.equal(books[0].vectors, books[2].vectors)


def test_no_code_is_replaced_in_the_first_batches():
    # From the first step on, every batch uses each code as often as the threshold.
    book = codebook(revival_threshold=2.0)
    assert update(book, book.vectors.repeat(2, 1)) == 0
    assert update(book, book.vectors[:4].repeat(4, 1)) == 4


def test_a_threshold_of_0_never_replaces():
    book = codebook(decay=0.0, revival_threshold=0.0)
    assert update(book, book.vectors[:1].clone()) == 0


def test_k_means_finds_separated_clusters():
    centres = torch.cartesian_prod(torch.arange(4.0), torch.arange(3.0))
    points = (centres[:, None] + 0.01 * drawn(12, 40, 2)).flatten(0, 1)
    fitted = k_means(points, 12, 10, generator(0, "k-means"))
    nearest = torch.cdist(centres, fitted).argmin(1)
    assert sorted(nearest.tolist()) == list(range(12))
    means = points.view(12, 40, 2).mean(1)
    torch.testing.assert_close(fitted[nearest], means, rtol=1e-5, atol=1e-5)


def test_k_means_selects_distinct_points_among_copies():
    points = torch.cat([torch.zeros(1000, 2), drawn(7, 2)])
    fitted = k_means(points, 8, 10, generator(0, "k-means"))
    assert len(fitted.unique(dim=0)) == 8


def test_k_means_of_fewer_points_than_centres_repeats_points():
    points = drawn(3, 2)
    fitted = k_means(points, 8, 10, generator(0, "k-means"))
    assert torch.isfinite(fitted).all()
    assert {tuple(row) for row in fitted.tolist()} == {tuple(row) for row in points.tolist()}


def test_the_codebook_starts_at_the_clusters_of_the_encodings():
    centres = 10 * drawn(8, 3, seed=3)
    book = codebook()
    book.initialise((centres[:, None] + 0.01 * drawn(8, 30, 3)).flatten(0, 1), generator(0, "book"))
    assert torch.cdist(centres, book.vectors).min(1).values.max() < 0.05


@pytest.mark.parametrize("used", [1, 3, 8])
def test_the_perplexity_of_equally_used_codes_is_their_number(used):
    codes = torch.arange(used).repeat(10)
    assert perplexity(codes, 8).item() == pytest.approx(used, rel=1e-6)
    assert used_codes(codes, 8) == used


def test_the_perplexity_is_the_exponential_of_the_entropy():
    codes = torch.tensor([[0, 0], [1, 2]])
    entropy = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    assert perplexity(codes, 5).item() == pytest.approx(math.exp(entropy), rel=1e-6)


def test_under_autocast_sums_and_distances_stay_in_float32():
    z = drawn(300, 3)
    books = [codebook(), codebook()]
    update(books[0], z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        update(books[1], z)
    assert torch.equal(books[0].vectors, books[1].vectors)
    assert books[1].vectors.dtype == torch.float32
