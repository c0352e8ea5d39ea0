"""The preference model: from comparisons to a score (Bai et al. 2022, section 4.1)."""
