"""From a network's candidates to detections, and from detections to average precision."""
