"""An autoregressive distribution over a grid of codes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Dimensions of the vector by which the prior knows a code.
EMBEDDING_DIM = 16


class CodePrior(nn.Module):
    """p(codes) = prod_p p(code_p | codes before it), row by row, each row from the left.

    A GRU goes over the positions. At each it reads the place and the four neighbours that are known
    by then (left, above left, above, above right): its state would have to carry the row above
    for as many steps as the row is long, which a small one learns late.
    """

    def __init__(self, num_codes: int, grid: tuple[int, int], width: int, num_classes: int) -> None:
        """A network with undrawn weights.

        Args:
            num_codes: K.
            grid: Rows and columns.
            width: Hidden units of the GRU.
            num_classes: Length of the one-hot class that is read at every position; 0 for none.
        """
        super().__init__()
        self.num_codes, self.grid = num_codes, grid
        # A linear map of one-hot codes; one more stands for "not known" and "outside".
        self.embedding = nn.Linear(num_codes + 1, EMBEDDING_DIM, bias=False)
        num_inputs = 4 * EMBEDDING_DIM + sum(grid) + num_classes
        self.gru = nn.GRU(num_inputs, width, batch_first=True)
        self.output = nn.Linear(width, num_codes)

    def forward(self, codes: Tensor, condition: Tensor | None) -> Tensor:
        """Log-probabilities of every code at every position, given the codes before it.

        Args:
            codes: (N, positions) int64.
            condition: (N, num_classes) one-hot classes, or None.

        Returns:
            (N, positions, K) float32.
        """
        known = self._bordered(len(codes), codes.device)
        known[:, 1:, 1:-1] = codes.unflatten(1, self.grid)
        states, _ = self.gru(self._inputs(known, condition, slice(None)))
        return self.output(states).float().log_softmax(2)

    def negative_log_prob(self, codes: Tensor, condition: Tensor | None) -> Tensor:
        """-log p(codes) of (N, positions), summed over the positions: (N,) nats."""
        log_probs = self(codes, condition)
        return -log_probs.gather(2, codes[..., None]).squeeze(2).sum(1)

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator, condition: Tensor | None) -> Tensor:
        """(n, positions) codes, drawn position by position for all n at once.

        Args:
            n: How many.
            rng: The source of all noise, which is drawn first.
            condition: (n, num_classes) one-hot classes, or None.
        """
        device = self.output.weight.device
        rows, columns = self.grid
        shape = (rows * columns, n)
        noise = torch.rand(shape, generator=rng, device=rng.device, dtype=torch.float64).to(device)
        known = self._bordered(n, device)
        state = None
        for position in range(rows * columns):
            inputs = self._inputs(known, condition, slice(position, position + 1))
            states, state = self.gru(inputs, state)
            chances = self.output(states[:, 0]).double().softmax(1)
            # The inverse of the distribution function: the same on every device.
            drawn = (chances.cumsum(1) <= noise[position, :, None]).sum(1)
            row, column = divmod(position, columns)
            known[:, row + 1, column + 1] = drawn.clamp_max(self.num_codes - 1)
        return known[:, 1:, 1:-1].flatten(1)

    def _bordered(self, n: int, device: torch.device) -> Tensor:
        """(n, rows + 1, columns + 2) of code K, the one that is none."""
        rows, columns = self.grid
        shape = (n, rows + 1, columns + 2)
        return torch.full(shape, self.num_codes, dtype=torch.int64, device=device)

    def _inputs(self, known: Tensor, condition: Tensor | None, positions: slice) -> Tensor:
        """(N, positions, inputs) for some positions of a bordered grid."""
        device, (rows, columns) = known.device, self.grid
        row = torch.arange(rows, device=device).repeat_interleave(columns)[positions]
        column = torch.arange(columns, device=device).repeat(rows)[positions]
        stride = columns + 2
        offsets = torch.tensor([stride, 0, 1, 2], device=device)  # left and the three above
        neighbours = known.flatten(1)[:, (row * stride + column)[:, None] + offsets]
        place = torch.cat([F.one_hot(row, rows), F.one_hot(column, columns)], 1).float()
        parts = [
            F.embedding(neighbours, self.embedding.weight.T).flatten(2),
            place.expand(len(known), -1, -1),
        ]
        if condition is not None:
            parts.append(condition[:, None].expand(-1, len(place), -1))
        return torch.cat(parts, 2)
