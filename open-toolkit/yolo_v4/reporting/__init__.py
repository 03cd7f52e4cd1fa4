"""What a run tells: progress bars, the precision table, the training log, the status file."""
