"""What to change in a training that is not healthy, and whether it helped.

Takes a ``Diagnosis``; ``prescribe`` gives ``Prescription``s, the most promising first: edits, what theory foretells of
them, and the change to make by hand. Remedies stand in ``remedies/``, one file each, and propose from what a finding
says of its causes and what the run measured; none of them knows another. ``changes`` holds what is foretold of the
network, ``paces`` what the run tells of rates and gradients.
"""
