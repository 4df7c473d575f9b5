"""The checks of a data set, a file each."""
