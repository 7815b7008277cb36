"""What XLA made of it: HLO, traffic, collectives, peaks, traces."""
