"""Has its own way of printing exceptions."""

import sys


def report(kind, value, trace):
    print("caught by the script:", kind.__name__, value, trace.tb_frame.f_code.co_name, file=sys.stderr)


sys.excepthook = report
raise LookupError("lost")
