"""The report as one page: sections of plain blocks, laid out by one template."""
