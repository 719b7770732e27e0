"""File formats below the datasets: read without trust, every length checked."""
