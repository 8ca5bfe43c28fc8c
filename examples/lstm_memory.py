"""An LSTM has to name, at the end of a long sequence, the symbol that it saw at the beginning.

python examples/lstm_memory.py --length 100
"""

import argparse

import torch
from torch import nn


class Memory(nn.Module):
    def __init__(self, symbols, hidden):
        super().__init__()
        self.embedding = nn.Embedding(symbols, 16)
        self.lstm = nn.LSTM(16, hidden, batch_first=True)
        self.head = nn.Linear(hidden, symbols)

    def forward(self, sequence):
        outputs, _ = self.lstm(self.embedding(sequence))
        return self.head(outputs[:, -1])


def main():
    parser = argparse.ArgumentParser(description="Remember the first symbol of a sequence.")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--symbols", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=64)
    options = parser.parse_args()

    torch.manual_seed(0)
    model = Memory(options.symbols, options.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(1, options.steps + 1):
        sequence = torch.randint(options.symbols, (64, options.length))
        logits = model(sequence)
        loss = nn.functional.cross_entropy(logits, sequence[:, 0])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0:
            accuracy = (logits.argmax(1) == sequence[:, 0]).float().mean()
            print(f"step {step:4d}  loss {loss.item():.4f}  accuracy {accuracy.item():.3f}")


if __name__ == "__main__":
    main()
