"""Ctrl-C, as the interpreter delivers it."""

import os
import signal
import time

print("before", flush=True)
os.kill(os.getpid(), signal.SIGINT)
time.sleep(5)
