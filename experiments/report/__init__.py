"""From records to Markdown and pictures."""
