"""A study of many launches: its cells, their order, running and resuming them."""
