"""How runs, diagnoses, checks, predictions and outcomes are told and shown.

Takes a ``Run``, a ``Diagnosis``, a ``Check`` or a ``Prediction`` (in ``checks/``), an ``Outcome`` or a ``Prescription``
(in ``outcomes/``); gives terminal text (``text.py``), JSON after published schemas (``json.py``), Markdown, charts as
data (``plots/``, one file each) and their ink: ``svg.py`` for the page, ``draw.py`` for figures. Importing it registers
how ``print`` shows these values.
"""

from isometry.report import text
from isometry.report.checks import text as checks_text
from isometry.report.outcomes import text as outcomes_text

__all__ = ["checks_text", "outcomes_text", "text"]
