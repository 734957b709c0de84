"""Models over hours of audio, and how they are judged there."""
