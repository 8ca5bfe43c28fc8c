"""What a network is, in words that no framework owns: signals, layers, and what is asked of an adapter."""
