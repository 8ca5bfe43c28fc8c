"""What isometry raises on purpose: each message says what was found, what was needed and what to do."""

__all__ = ["CannotEdit", "IsometryError", "NotRecorded", "UnsupportedModel"]


class IsometryError(Exception):
    """The parent of everything that isometry raises on purpose."""


class UnsupportedModel(IsometryError):
    """The object is no model, script or module that an adapter knows."""


class NotRecorded(IsometryError):
    """The run does not hold what was asked of it."""


class CannotEdit(IsometryError):
    """An edit does not fit the model it was meant for."""
