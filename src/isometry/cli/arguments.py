"""Where the options of a command end and the arguments of somebody's script begin."""

from typing import Any

from typer.core import TyperCommand

from isometry.adapters.target import names_experiment

__all__ = ["OfATraining"]


class OfATraining(TyperCommand):
    """A command whose TARGET is a script, and all behind it the script's; or an experiment, which has no arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options may stand behind an experiment as well."""
        ctx.allow_interspersed_args = False
        values, *_ = self.make_parser(ctx).parse_args(args=list(args))
        target = values.get("target")
        ctx.allow_interspersed_args = isinstance(target, str) and not values.get("module") and names_experiment(target)
        return super().parse_args(ctx, args)
