"""What the simulated vendor clouds are built from; imports nothing else of ours."""
