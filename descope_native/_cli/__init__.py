"""The commands of ``descope-native``, a module each, and what they share."""
