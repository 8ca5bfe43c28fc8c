"""Names of torch's operations that mean something to whoever follows a forward pass."""

from isometry.adapters.torch.sites import NORM_OPERATIONS

__all__ = [
    "ADDITIONS",
    "ATTRIBUTES",
    "CUTS",
    "NOT_OPERATIONS",
    "PRODUCTS",
    "SEQUENCES",
    "STATEFUL",
    "is_in_place",
]

ADDITIONS = frozenset({"add", "__add__", "__radd__", "add_", "__iadd__"})
PRODUCTS = frozenset({"mul", "__mul__", "__rmul__", "mul_", "__imul__"})
CELLS = frozenset({"lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"})
SEQUENCES = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
STATEFUL = NORM_OPERATIONS | SEQUENCES | CELLS
CUTS = frozenset({"detach", "detach_"})
ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "data", "real", "imag"})
NOT_OPERATIONS = frozenset(
    {"size", "dim", "numel", "stride", "is_floating_point", "is_complex", "requires_grad_", "register_hook", "__len__"}
)


def is_in_place(name: str) -> bool:
    """Whether an operation writes its result into what it was given."""
    return name.startswith("__i") if name.startswith("__") else name.endswith("_")
