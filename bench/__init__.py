"""What `make bench` measures: each thing beside the plain thing it is held against, in one run."""
