"""What is heard: sound, corpora, splits, scenes, synthetic voices. NumPy only."""
