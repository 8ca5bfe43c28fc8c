"""A child process made by hand runs off the end of the script, as its parent does."""

import os

print("before", flush=True)
child = os.fork()
if child:
    os.waitpid(child, 0)
print("parent" if child else "child", flush=True)
