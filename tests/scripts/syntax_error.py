"""Not Python."""

def train(:
    pass
