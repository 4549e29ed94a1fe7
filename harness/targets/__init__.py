"""The gateways that the harness knows how to start or reach, one file each."""
