"""The reference keyword spotter in PyTorch and torchaudio, with its own names and keys."""
