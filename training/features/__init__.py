"""Public feature extractors without parameters, computed once a record, under a trainable head."""
