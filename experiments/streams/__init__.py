"""Models over audio: listened with, drawn, and judged on hours of it."""
