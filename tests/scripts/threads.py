"""Goes on in threads after its last line, and leaves a pool behind that nobody shuts down."""

import atexit
import threading
import time
from concurrent.futures import ThreadPoolExecutor


def work():
    time.sleep(0.3)
    print("thread done")


atexit.register(print, "exit handler")
pool = ThreadPoolExecutor(1)
pool.submit(print, "pool used").result()
threading.Thread(target=work).start()
print("last line")
