"""What only training needs: recipes, losses, pruning, quantization, the loop."""
