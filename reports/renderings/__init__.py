"""Other renderings of the canonical record: for machines, registries, papers and step summaries."""
