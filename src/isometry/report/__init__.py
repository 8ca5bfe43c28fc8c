"""How a diagnosis is told and shown.

Takes a ``Run`` or a ``Diagnosis``; gives terminal text (``text.py``), JSON after published schemas (``json.py``),
Markdown, charts as data (``plots/``, one file each) and their ink: ``svg.py`` for the page, ``draw.py`` for figures.
Importing it registers how ``print`` shows the public values.
"""

from isometry.report import text

__all__ = ["text"]
