"""The sections of the page, in reading order; each is a function of the record."""
