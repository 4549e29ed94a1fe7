"""The reference gateway: one pipeline of small components; it knows the contract, and nothing of the harness."""
