"""From a setting to a record."""
