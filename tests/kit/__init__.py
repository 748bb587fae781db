"""What the tests are made with: raw servers, certificates, the contract's tables."""
