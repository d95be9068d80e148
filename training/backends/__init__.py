"""Where the same two apps run: in this process, or on Flower's Ray simulation."""
