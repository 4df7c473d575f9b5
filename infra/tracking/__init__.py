"""MLflow runs: written down first, delivered afterwards."""
