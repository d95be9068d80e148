"""Labels behind an update: read off the last layer, or counted."""
