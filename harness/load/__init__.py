"""Load on a gateway: what drives it hard, and what is told from how it held; it judges no requirement."""
