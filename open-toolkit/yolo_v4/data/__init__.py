"""Images and labels: from folders to training batches."""
