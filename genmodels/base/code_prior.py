"""An autoregressive prior over a grid of codes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Dimensions of the embedding of a code.
EMBEDDING_DIM = 16


class CodePrior(nn.Module):
    """p(codes) = prod_p p(code_p | earlier codes), in row-major order.

    A GRU processes the positions in order. Its inputs at a position are the row, the column and
    the codes of the four neighbours that come earlier (left, above left, above, above right).
    Without the neighbours the state would have to carry the row above over a whole row, which a
    small GRU learns slowly.
    """

    def __init__(self, num_codes: int, grid: tuple[int, int], width: int, num_classes: int) -> None:
        """Builds the network; `draw_weights` draws its weights.

        Args:
            num_codes: K, size of the codebook.
            grid: Rows and columns.
            width: Hidden units of the GRU.
            num_classes: Length of the one-hot class, an input at every position; 0 = no class.
        """
        super().__init__()
        self.num_codes, self.grid = num_codes, grid
        # A linear map of one-hot codes; index K means "not yet drawn" or "outside the grid".
        self.embedding = nn.Linear(num_codes + 1, EMBEDDING_DIM, bias=False)
        num_inputs = 4 * EMBEDDING_DIM + sum(grid) + num_classes
        self.gru = nn.GRU(num_inputs, width, batch_first=True)
        self.output = nn.Linear(width, num_codes)

    def forward(self, codes: Tensor, condition: Tensor | None) -> Tensor:
        """Log-probabilities of every code at every position, given the earlier codes.

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
            n: Number of grids.
            rng: Source of all noise; all of it is drawn first.
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
            probabilities = self.output(states[:, 0]).double().softmax(1)
            # Inverse transform sampling gives the same codes on every device.
            codes = (probabilities.cumsum(1) <= noise[position, :, None]).sum(1)
            row, column = divmod(position, columns)
            known[:, row + 1, column + 1] = codes.clamp_max(self.num_codes - 1)
        return known[:, 1:, 1:-1].flatten(1)

    def _bordered(self, n: int, device: torch.device) -> Tensor:
        """(n, rows + 1, columns + 2), filled with index K: an empty grid with a border."""
        rows, columns = self.grid
        shape = (n, rows + 1, columns + 2)
        return torch.full(shape, self.num_codes, dtype=torch.int64, device=device)

    def _inputs(self, known: Tensor, condition: Tensor | None, positions: slice) -> Tensor:
        """Inputs of the GRU, (N, positions, inputs), at some positions of a bordered grid."""
        device, (rows, columns) = known.device, self.grid
        row = torch.arange(rows, device=device).repeat_interleave(columns)[positions]
        column = torch.arange(columns, device=device).repeat(rows)[positions]
        stride = columns + 2
        offsets = torch.tensor(
            [stride, 0, 1, 2], device=device
        )  # left, above left, above, above right
        neighbours = known.flatten(1)[:, (row * stride + column)[:, None] + offsets]
        location = torch.cat([F.one_hot(row, rows), F.one_hot(column, columns)], 1).float()
        parts = [
            F.embedding(neighbours, self.embedding.weight.T).flatten(2),
            location.expand(len(known), -1, -1),
        ]
        if condition is not None:
            parts.append(condition[:, None].expand(-1, len(location), -1))
        return torch.cat(parts, 2)
