"""`make zoo`: many architectures with random weights, opened and checked one by one; docs/networks.md is its result."""
