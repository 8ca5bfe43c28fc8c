"""The textbook experiments of the subject, rerun with seeds: what was claimed, what is measured, whether it stands.

Takes a ``Study`` (where, how many seeds, full or fast), gives an ``Exhibit`` (claims, charts, numbers, watched runs).
Each file in ``experiments`` is one classic; ``build`` holds their data and networks; ``gallery`` runs, keeps and shows
them.
"""
