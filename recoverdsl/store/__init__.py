"""Results of steps by digest, appended part by part; and the folder that a run writes."""
