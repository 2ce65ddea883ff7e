"""`distbench doctor`: what is wrong with this machine, found before a long job finds it."""
