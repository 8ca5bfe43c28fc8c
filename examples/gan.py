"""A small GAN that learns two half moons: two models, two optimisers, frozen turns.

python examples/gan.py --steps 800
"""

import argparse

import torch
from sklearn.datasets import make_moons
from torch import nn


def mlp(inputs, outputs, activation):
    return nn.Sequential(
        nn.Linear(inputs, 64), activation, nn.Linear(64, 64), activation, nn.Linear(64, outputs)
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description="Train a GAN on two half moons.")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()

    torch.manual_seed(0)
    points, _ = make_moons(4000, noise=0.05, random_state=0)
    data = torch.as_tensor((points - points.mean(0)) / points.std(0)).float()

    generator = mlp(8, 2, nn.ReLU())
    discriminator = mlp(2, 1, nn.LeakyReLU(0.2))
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=5e-4, betas=(0.5, 0.999))
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=5e-4, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(options.batch_size, 1), torch.zeros(options.batch_size, 1)

    for step in range(1, options.steps + 1):
        real = data[torch.randint(len(data), (options.batch_size,))]
        fake = generator(torch.randn(options.batch_size, 8))

        discriminator_optimizer.zero_grad()
        discriminator_loss = criterion(discriminator(real), ones) + criterion(discriminator(fake.detach()), zeros)
        discriminator_loss.backward()
        discriminator_optimizer.step()

        generator_optimizer.zero_grad()
        generator_loss = criterion(discriminator(fake), ones)
        generator_loss.backward()
        generator_optimizer.step()

        if step % 100 == 0:
            print(
                f"step {step:5d}  discriminator {discriminator_loss.item():.3f}  generator {generator_loss.item():.3f}"
            )


if __name__ == "__main__":
    main()
