"""Speed on the clock."""
