"""A cluster of known truth that writes the records of real ranks."""
