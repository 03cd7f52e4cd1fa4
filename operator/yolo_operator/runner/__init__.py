"""What runs inside a stage's container."""
