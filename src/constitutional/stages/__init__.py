"""How each stage meets a run: which records it reads, what it depends on, where it leaves its own.

The stages themselves know nothing of recipes and run folders; the pipeline knows nothing of their
settings. What lies between is here, one file for each part of the paper's figure 1.
"""
