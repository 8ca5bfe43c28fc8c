"""How a treatment is told and shown.

``words`` has the sentences and the table of arms that all forms share; ``text``, ``html``, ``markdown`` and ``poster``
are the forms; ``pictures`` shows before beside after.
"""
