"""The ``isometry`` command: one file for each of its commands. They parse, call the verbs of ``api`` and print."""
