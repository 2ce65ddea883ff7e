"""`distbench tune`: the settings that give the most images per second, found by launches in rounds."""
