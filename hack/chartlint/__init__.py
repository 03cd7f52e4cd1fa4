"""The chart's renders under kubeconform and kube-linter, without a network."""
