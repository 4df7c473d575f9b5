"""What every stage uses: look-ups, workers, scratch folders, devices, progress."""
