"""``python -m isometry`` and the ``isometry`` command."""

from isometry.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
