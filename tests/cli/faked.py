"""``isometry`` with verbs that check nothing and tell what reached them, as a program."""

from types import SimpleNamespace

from isometry import api
from isometry.cli.main import main
from isometry.diagnosis.finding import Severity


class Made:
    """Tells what reached the verb, instead of a verdict."""

    def __init__(self, **facts):
        self.facts = facts
        self.diagnosis = SimpleNamespace(findings=[SimpleNamespace(severity=Severity.SLOWS)])

    def to_dict(self):
        return self.facts

    def __str__(self):
        return f"checked: {self.facts['model']}"


def check_captured(captured, *, nets=None, seconds=4.0, seed=0):
    return Made(
        model=type(captured.model).__name__,
        training=captured.model.training,
        inputs=[list(value.shape) for value in (*captured.args, *captured.kwargs.values())],
        cotangents=[value is not None for value in captured.cotangents],
        loss=captured.loss,
        kind=captured.loss_kind["kind"],
        others=captured.others,
        nets=nets,
        seconds=seconds,
    )


def check(model, batch=None, loss_fn=None, *, nets=None, seconds=4.0, seed=0):
    return Made(model=f"{type(model).__name__} of {model.epochs} epochs, {nets} nets")


def report(thing, path):
    path.write_text("a report")
    return path


if __name__ == "__main__":
    api.check, api.check_captured, api.report = check, check_captured, report  # type: ignore[assignment]
    main()
