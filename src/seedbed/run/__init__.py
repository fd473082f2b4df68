"""One run: from a config to a record. Read in this order: config, process, seeds, data, training, record."""
