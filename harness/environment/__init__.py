"""Where a run happens: in virtual time, on loopback, or against a gateway that is already there."""
