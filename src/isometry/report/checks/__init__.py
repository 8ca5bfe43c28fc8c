"""How a check and a prediction are told and shown.

``words`` has the sentences and tables that all forms share; ``text``, ``html``, ``markdown`` and ``poster`` are the
forms; ``profiles``, ``spectrum``, ``phases`` and ``changes`` are pictures as data, and ``pictures`` says which of
them there are.
"""
