"""The change to make by hand: short code to paste, with the names of the layers and the numbers in it.

Takes edits and the network that they are meant for; ``patch`` gives the code. ``assembly`` puts it in order, and one
file for each kind of edit makes it: ``weights``, ``modules``, ``optimiser``, ``clipping``, ``precision``, ``inputs``.
``words`` says the same in sentences, for other frameworks; ``layout`` keeps both to the page.

Network edits belong behind the line that builds the model and before the one that makes its optimiser, training edits
behind the latter. Names in the code: ``model``, ``optimizer`` and, for what is done to the data, ``inputs``.
"""

from isometry.treatment.patch.assembly import patch
from isometry.treatment.patch.clipping import CLIPPING
from isometry.treatment.patch.modules import MODULES, norm_module

__all__ = ["CLIPPING", "MODULES", "norm_module", "patch"]
