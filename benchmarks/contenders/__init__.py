"""The contenders of side_by_side.py: what runs in their ranks, and how the runner holds them."""
