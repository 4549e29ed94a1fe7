"""The harness: contract, simulation, reference gateway, targets, clients, checkers and the command line."""
