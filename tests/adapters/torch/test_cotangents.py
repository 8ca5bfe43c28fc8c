import torch
import torch.nn.functional as F
from torch import nn

from isometry.adapters.torch.cotangents import cotangents_of


def sent_back(outputs, cotangents):
    pairs = [
        (tensor, cotangent) for tensor, cotangent in zip(outputs, cotangents, strict=True) if cotangent is not None
    ]
    torch.autograd.backward([tensor for tensor, _ in pairs], [cotangent for _, cotangent in pairs])


def gradients_both_ways(model, outputs_of, loss_of):
    """Gradients of the weights by the loss itself, and by what comes back to the outputs."""
    loss_of(outputs_of(model)).backward()
    direct = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    outputs = outputs_of(model)
    sent_back(outputs, cotangents_of(loss_of(outputs), outputs))
    return direct, [parameter.grad for parameter in model.parameters()]


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)), torch.randn(4, 5), torch.tensor([0, 1, 2, 0])


def test_one_output():
    model, x, y = make()
    direct, back = gradients_both_ways(model, lambda m: [m(x)], lambda out: F.cross_entropy(out[0], y))
    assert all(torch.allclose(a, b) for a, b in zip(direct, back, strict=True))


def test_hidden_states_beside_the_answer_are_not_counted_twice():
    model, x, y = make()

    def outputs(m):
        hidden = m[:2](x)
        return [hidden, m[2](hidden)]

    direct, back = gradients_both_ways(model, outputs, lambda out: F.cross_entropy(out[1], y))
    assert all(torch.allclose(a, b) for a, b in zip(direct, back, strict=True))


def test_a_loss_among_the_outputs_stands_for_all():
    model, x, y = make()
    logits = model(x)
    loss = F.cross_entropy(logits, y)
    cotangents = cotangents_of(loss, [loss, logits])
    assert cotangents[0] == 1
    assert cotangents[1] is None


def test_an_output_that_the_loss_does_not_read_gets_none():
    model, x, y = make()
    logits, other = model(x), model(x + 1)
    assert cotangents_of(F.cross_entropy(logits, y), [other, logits])[0] is None


def test_an_output_that_stands_twice_counts_once():
    model, x, y = make()
    logits = model(x)
    first, second = cotangents_of(F.cross_entropy(logits, y), [logits, logits])
    assert first is not None
    assert second is None
