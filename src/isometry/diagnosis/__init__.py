"""What is wrong with a training, how one knows, and why.

Takes a ``Run``, gives a ``Diagnosis``: findings with evidence and causes. Rules stand in ``rules/``, one file each; the
numbers they judge by in ``limits.py``; the split of a backward gain into its causes in ``attribution.py``.
"""
